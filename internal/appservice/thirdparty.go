package appservice

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
)

// lookupTimeout is how long all application services together may take to answer a question about other networks.
const lookupTimeout = 15 * time.Second

// Protocol is what application services say of a network. The instances of all of them are put together; the rest is the first one's.
//
// Spec: client-server-api#get_matrixclientv3thirdpartyprotocols
type Protocol struct {
	UserFields     []string                   `json:"user_fields"`
	LocationFields []string                   `json:"location_fields"`
	Icon           string                     `json:"icon"`
	FieldTypes     map[string]json.RawMessage `json:"field_types"`
	Instances      []json.RawMessage          `json:"instances"`
}

// Location is a place of another network with an alias that leads to it. ThirdUser is the same for a user.
type Location struct {
	Alias    id.RoomAlias    `json:"alias"`
	Protocol string          `json:"protocol"`
	Fields   json.RawMessage `json:"fields"`
}

// ThirdUser is a user of another network.
type ThirdUser struct {
	User     id.UserID       `json:"userid"`
	Protocol string          `json:"protocol"`
	Fields   json.RawMessage `json:"fields"`
}

// Protocols is the networks that application services know, by name. Those that no application service describes now are left out.
func (s *Service) Protocols(ctx context.Context) map[string]Protocol {
	out := map[string]Protocol{}
	if s == nil {
		return out
	}
	var names []string
	for _, r := range s.registry.All() {
		names = append(names, r.Protocols...)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	found := make([]Protocol, len(names))
	failed := make([]error, len(names))
	var asking sync.WaitGroup
	for i, name := range names {
		asking.Go(func() { found[i], failed[i] = s.Protocol(ctx, name) })
	}
	asking.Wait()
	for i, name := range names {
		if failed[i] == nil {
			out[name] = found[i]
		}
	}
	return out
}

// Protocol describes one network, or is M_NOT_FOUND.
func (s *Service) Protocol(ctx context.Context, name string) (Protocol, error) {
	answers := ask[Protocol](ctx, s, name, "protocol/"+url.PathEscape(name), nil)
	if len(answers) == 0 {
		return Protocol{}, merr.New(merr.NotFound, "No application service knows the network")
	}
	out := answers[0].value
	out.Instances = []json.RawMessage{}
	for _, a := range answers {
		for _, instance := range a.value.Instances {
			named, err := sjson.SetBytes(instance, "instance_id", Instance(a.from.ID, gjson.GetBytes(instance, "network_id").Str).ID)
			if err == nil && isObject(instance) {
				out.Instances = append(out.Instances, named)
			}
		}
	}
	// What clients rely on is there in any case.
	out.UserFields = append([]string{}, out.UserFields...)
	out.LocationFields = append([]string{}, out.LocationFields...)
	if out.FieldTypes == nil {
		out.FieldTypes = map[string]json.RawMessage{}
	}
	return out, nil
}

// Locations finds places, of one network by its fields or, without a protocol, of all networks by an alias.
//
// Spec: client-server-api#get_matrixclientv3thirdpartylocationprotocol
func (s *Service) Locations(ctx context.Context, protocol string, query url.Values) []Location {
	var out []Location
	for _, a := range ask[[]Location](ctx, s, protocol, thing("location", protocol), query) {
		out = append(out, a.value...)
	}
	return slices.DeleteFunc(out, func(l Location) bool { return l.Alias == "" || !isObject(l.Fields) })
}

// Users finds users, of one network by its fields or, without a protocol, of all networks by a user id.
//
// Spec: client-server-api#get_matrixclientv3thirdpartyuserprotocol
func (s *Service) Users(ctx context.Context, protocol string, query url.Values) []ThirdUser {
	var out []ThirdUser
	for _, a := range ask[[]ThirdUser](ctx, s, protocol, thing("user", protocol), query) {
		out = append(out, a.value...)
	}
	return slices.DeleteFunc(out, func(u ThirdUser) bool { return u.User == "" || !isObject(u.Fields) })
}

func thing(kind, protocol string) string {
	if protocol == "" {
		return kind
	}
	return kind + "/" + url.PathEscape(protocol)
}

func isObject(raw json.RawMessage) bool { return len(raw) > 0 && raw[0] == '{' }

// answer is what one application service has said.
type answer[T any] struct {
	from  *Registration
	value T
}

// ask asks the application services that know a network, or any if it is empty, at the same time. Answers that make no sense are left out.
func ask[T any](ctx context.Context, s *Service, protocol, path string, query url.Values) []answer[T] {
	if s == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	asked := slices.DeleteFunc(s.registry.All(), func(r *Registration) bool {
		return r.URL == nil || len(r.Protocols) == 0 || protocol != "" && !slices.Contains(r.Protocols, protocol)
	})
	answers := make([]answer[T], len(asked))
	failed := make([]error, len(asked))
	var asking sync.WaitGroup
	for i, r := range asked {
		asking.Go(func() {
			answers[i].from = r
			failed[i] = s.client.get(ctx, r, "/_matrix/app/v1/thirdparty/"+path, query, &answers[i].value)
		})
	}
	asking.Wait()
	var out []answer[T]
	for i, err := range failed {
		switch {
		case err == nil:
			out = append(out, answers[i])
		case !errors.Is(err, errMissing):
			s.log.Info("asking an application service failed", "appservice", asked[i].ID, "error", reason(err))
		}
	}
	return out
}
