package appservice

import "github.com/hearthd/hearth/storage"

// Instance is what a network of an application service is called, as Protocols says it. The name of the network is unique only within the
// application service.
//
// Spec: client-server-api#get_matrixclientv3thirdpartyprotocolprotocol
func Instance(appservice, network string) storage.Instance {
	return storage.Instance{ID: appservice + "|" + network, Appservice: appservice}
}

// IDs is the ids of the application services there are.
func (s *Service) IDs() []string {
	out := []string{}
	if s == nil {
		return out
	}
	for _, r := range s.registry.All() {
		out = append(out, r.ID)
	}
	return out
}
