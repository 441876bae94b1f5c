package mediaapi

import "github.com/hearthd/hearth/internal/web"

// Routes returns the endpoints of the content repository.
func (s *Service) Routes() []web.Route {
	const authed = "/_matrix/client/v1/media"
	// Guests may download: Spec: client-server-api#guest-access.
	routes := []web.Route{
		{"GET", authed + "/download/{serverName}/{mediaID}", web.Guest, web.RateMedia, s.download(false)},
		{"GET", authed + "/download/{serverName}/{mediaID}/{fileName}", web.Guest, web.RateMedia, s.download(false)},
		{"GET", authed + "/thumbnail/{serverName}/{mediaID}", web.Guest, web.RateMedia, s.thumbnail(false)},
		{"GET", authed + "/config", web.User, web.RateNone, s.limits},
		{"GET", authed + "/preview_url", web.User, web.RateMedia, s.previewURL},
		{"POST", "/_matrix/media/v1/create", web.User, web.RateMedia, s.create},
	}
	for _, version := range []string{"r0", "v1", "v3"} {
		legacy := "/_matrix/media/" + version
		routes = append(routes, []web.Route{
			{"GET", legacy + "/download/{serverName}/{mediaID}", web.None, web.RateMedia, s.download(true)},
			{"GET", legacy + "/download/{serverName}/{mediaID}/{fileName}", web.None, web.RateMedia, s.download(true)},
			{"GET", legacy + "/thumbnail/{serverName}/{mediaID}", web.None, web.RateMedia, s.thumbnail(true)},
			{"GET", legacy + "/config", web.User, web.RateNone, s.limits},
			{"GET", legacy + "/preview_url", web.User, web.RateMedia, s.previewURL},
			{"POST", legacy + "/upload", web.User, web.RateMedia, s.upload},
			{"PUT", legacy + "/upload/{serverName}/{mediaID}", web.User, web.RateMedia, s.uploadTo},
		}...)
	}
	return append(routes, s.federationRoutes()...)
}
