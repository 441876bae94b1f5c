package federationapi

import (
	"context"

	"github.com/hearthd/hearth/internal/web"
)

func (a *API) versionRoutes() []web.Route {
	return []web.Route{
		{Method: "GET", Path: v1 + "/version", Auth: web.None, Rate: web.RateFederation, Handler: a.serverVersion},
	}
}

// Spec: server-server-api#get_matrixfederationv1version
func (a *API) serverVersion(context.Context, *web.Request) (any, error) {
	type program struct {
		Name    string `json:"name"`
		Version string `json:"version"`
	}
	return struct {
		Server program `json:"server"`
	}{program{"Hearth", a.version}}, nil
}
