package app

import (
	"context"
	"fmt"
	"net/http"

	"github.com/matrix-org/gomatrixserverlib"

	"github.com/hearthd/hearth/federationapi"
	"github.com/hearthd/hearth/federationapi/fedclient"
	"github.com/hearthd/hearth/federationapi/sender"
	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/identity"
	"github.com/hearthd/hearth/internal/safehttp"
	"github.com/hearthd/hearth/roomserver"
)

// federation is the way to other servers.
type federation struct {
	client *fedclient.Client
	ring   *fedclient.KeyRing
	sender *sender.Sender
	// identity asks the servers that know whose user an address is.
	identity *identity.Client
}

func (a *App) openFederation(cfg *config.Config, opts Options) (*federation, error) {
	trusted, err := safehttp.ReadAuthorities(cfg.File(cfg.Federation.CAFile))
	if err != nil {
		return nil, fmt.Errorf("federation.ca_file: %w", err)
	}
	name := id.ServerName(cfg.Server.Name)
	var old []fedclient.OldKey
	for _, k := range cfg.Federation.OldVerifyKeys {
		old = append(old, fedclient.OldKey{ID: k.ID, Public: k.Key, Expired: k.Expired})
	}
	f := &federation{}
	guard := safehttp.NewGuard(cfg.Outbound.DenyNetworks, cfg.Outbound.AllowNetworks)
	f.client, err = fedclient.New(fedclient.Options{
		Name: name, KeyID: gomatrixserverlib.KeyID(a.key.ID), Key: a.key.Private, OldKeys: old,
		Guard: guard, Authorities: trusted, Store: a.store, Clock: opts.Clock,
		Log: a.log, Metrics: a.metrics, UserAgent: "Hearth/" + opts.Version, Resolver: opts.Resolver, Dial: opts.Dial,
	})
	if err != nil {
		return nil, err
	}
	f.identity = identity.New(guard, trusted, "Hearth/"+opts.Version, f.client)
	var notaries []id.ServerName
	for _, n := range cfg.Federation.TrustedKeyServers {
		notaries = append(notaries, id.ServerName(n)) // Validate has parsed it
	}
	f.ring = fedclient.NewKeyRing(f.client, a.store, notaries)
	f.sender, err = sender.New(sender.Options{
		Name: name, Store: a.store, Client: f.client, Clock: opts.Clock, Log: a.log, Metrics: a.metrics,
	})
	return f, err
}

// rooms is the federation as rooms see it.
func (f *federation) rooms(devices roomserver.Devices, pushers roomserver.Pushers) roomserver.Peers {
	return roomserver.Peers{Remote: f.client, Verifier: f.ring, Outbound: f.sender, Devices: devices, Pushers: pushers, Identity: f.identity}
}

// AuthenticateServer implements web.ServerAuthenticator. Who makes a request can be reached again, so what waits for it is sent.
func (f *federation) AuthenticateServer(ctx context.Context, r *http.Request, body []byte) (id.ServerName, error) {
	origin, err := f.ring.AuthenticateServer(ctx, r, body)
	if err == nil {
		f.sender.Heard(origin)
	}
	return origin, err
}

// openInbound builds what other servers see of this one.
func (a *App) openInbound(opts Options) *federationapi.API {
	return federationapi.New(federationapi.Deps{
		Config: a.live, Version: opts.Version, Store: a.store, Rooms: a.rooms, Ephemera: a.edus, Keys: a.e2ee, KeyServer: a.peers.ring,
		Accounts: a.accounts, Bridges: a.appservices, Clock: opts.Clock, Log: a.log,
	})
}
