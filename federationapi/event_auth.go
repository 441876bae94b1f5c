package federationapi

import (
	"context"
	"encoding/json"

	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage"
)

func (a *API) eventAuthRoutes() []web.Route {
	return []web.Route{
		get(v1+"/event_auth/{roomID}/{eventID}", a.heavily(a.eventAuth)),
	}
}

// Spec: server-server-api#get_matrixfederationv1event_authroomideventid
func (a *API) eventAuth(ctx context.Context, r *web.Request) (any, error) {
	eventID, err := r.EventID("eventID")
	if err != nil {
		return nil, err
	}
	var out struct {
		AuthChain []json.RawMessage `json:"auth_chain"`
	}
	err = a.viewRoom(ctx, r, func(room *room) error {
		ev, err := room.event(eventID)
		if err != nil {
			return err
		}
		chain, _, err := room.tx.AuthChain([]*storage.Event{ev}, maxAuthChain)
		out.AuthChain = plain(chain)
		return err
	})
	return out, err
}
