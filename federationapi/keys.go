package federationapi

import (
	"context"
	"encoding/json"

	"github.com/matrix-org/gomatrixserverlib"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
)

func (a *API) keyRoutes() []web.Route {
	const key = "/_matrix/key/v2"
	return []web.Route{
		{"GET", key + "/server", web.None, web.RateFederation, a.ownKeys},
		{"GET", key + "/server/{keyID}", web.None, web.RateFederation, a.ownKeys}, // before v1.6; the document has all keys in any case
		{"GET", key + "/query/{serverName}", web.None, web.RateFederation, a.queryKeys},
		{"GET", key + "/query/{serverName}/{keyID}", web.None, web.RateFederation, a.queryKeys}, // before v1.6
		{"POST", key + "/query", web.None, web.RateFederation, a.queryManyKeys},
	}
}

// Spec: server-server-api#get_matrixkeyv2server
func (a *API) ownKeys(context.Context, *web.Request) (any, error) {
	return a.keyServer.Own()
}

// keyAnswer is the answer of a notary.
//
// Spec: server-server-api#querying-keys-through-another-server
type keyAnswer struct {
	ServerKeys []json.RawMessage `json:"server_keys"`
}

// maxQueriedKeys bounds what one request makes a notary fetch.
const maxQueriedKeys = 100

// Spec: server-server-api#get_matrixkeyv2queryservername
func (a *API) queryKeys(ctx context.Context, r *web.Request) (any, error) {
	server, err := r.ServerName("serverName")
	if err != nil {
		return nil, err
	}
	now := a.clock.Now().UnixMilli()
	until, err := r.IntQuery("minimum_valid_until_ts", int(now), 0, 1<<62)
	if err != nil {
		return nil, err
	}
	wanted := map[gomatrixserverlib.KeyID]int64{}
	if keyID := r.Var("keyID"); keyID != "" {
		wanted[gomatrixserverlib.KeyID(keyID)] = int64(until)
	}
	return a.notary(ctx, r, map[id.ServerName]map[gomatrixserverlib.KeyID]int64{server: wanted})
}

// Spec: server-server-api#post_matrixkeyv2query
func (a *API) queryManyKeys(ctx context.Context, r *web.Request) (any, error) {
	var body struct {
		ServerKeys map[string]map[string]struct {
			Until *int64 `json:"minimum_valid_until_ts"`
		} `json:"server_keys"`
	}
	if err := r.JSON(&body); err != nil {
		return nil, err
	}
	now := a.clock.Now().UnixMilli()
	count := 0
	wanted := map[id.ServerName]map[gomatrixserverlib.KeyID]int64{}
	for name, keys := range body.ServerKeys {
		server, err := id.ParseServerName(name)
		if err != nil {
			continue // no server has keys under such a name
		}
		wanted[server] = map[gomatrixserverlib.KeyID]int64{}
		for keyID, criteria := range keys {
			until := now
			if criteria.Until != nil {
				until = *criteria.Until
			}
			wanted[server][gomatrixserverlib.KeyID(keyID)] = until
		}
		count += 1 + len(keys)
	}
	if count > maxQueriedKeys {
		return nil, merr.Newf(merr.TooLarge, "No more than %d keys may be asked for at once", maxQueriedKeys)
	}
	return a.notary(ctx, r, wanted)
}

// notary asks other servers for their keys. Everybody may cause that, so that each server asked counts as a request of its own.
func (a *API) notary(ctx context.Context, r *web.Request, wanted map[id.ServerName]map[gomatrixserverlib.KeyID]int64) (any, error) {
	for range wanted {
		if err := r.SpendFrom(web.RateFederation, "notary"); err != nil {
			return nil, err
		}
	}
	out := keyAnswer{ServerKeys: []json.RawMessage{}}
	if len(wanted) > 0 {
		out.ServerKeys = append(out.ServerKeys, a.keyServer.Notary(ctx, wanted)...)
	}
	return out, nil
}
