package clientapi

import (
	"context"

	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/web"
)

func (a *API) voipRoutes() []web.Route {
	return []web.Route{
		{"GET", "/_matrix/client/v3/voip/turnServer", web.Guest, web.RateRead, a.turnServer},
		{"GET", "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports", web.Guest, web.RateRead, a.rtcTransports},
	}
}

// turnServer answers with an empty object where there is no relay: the specification knows no other way to say so, and clients know this one.
//
// Spec: client-server-api#get_matrixclientv3voipturnserver
func (a *API) turnServer(_ context.Context, r *web.Request) (any, error) {
	turn, ok := a.accounts.TURN(r.Caller.User, r.Caller.Guest)
	if !ok {
		return web.Empty{}, nil
	}
	return turn, nil
}

// transport is what the calls of several people can go through.
//
// Spec: MSC4143, MSC4195
type transport struct {
	Type       string `json:"type"`
	ServiceURL string `json:"livekit_service_url"`
}

func transports(cfg *config.Config) []transport {
	out := make([]transport, len(cfg.RTC.LiveKitServices))
	for i, service := range cfg.RTC.LiveKitServices {
		out[i] = transport{"livekit", service}
	}
	return out
}

// Spec: MSC4143
func (a *API) rtcTransports(context.Context, *web.Request) (any, error) {
	cfg := a.config.Get()
	return struct {
		Transports []transport `json:"rtc_transports"`
	}{transports(cfg)}, nil
}
