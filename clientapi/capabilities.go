package clientapi

import (
	"context"
	"strings"

	"github.com/matrix-org/gomatrixserverlib"

	"github.com/hearthd/hearth/internal/web"
)

func (a *API) capabilityRoutes() []web.Route {
	return []web.Route{
		{"GET", "/_matrix/client/v3/capabilities", web.User, web.RateNone, a.capabilities},
	}
}

// Spec: client-server-api#capabilities-negotiation
func (a *API) capabilities(_ context.Context, r *web.Request) (any, error) {
	cfg := a.config.Get()
	enabled := func(on bool) any {
		return struct {
			Enabled bool `json:"enabled"`
		}{on}
	}
	type roomVersions struct {
		Default   string                                   `json:"default"`
		Available map[gomatrixserverlib.RoomVersion]string `json:"available"`
	}
	versions := roomVersions{cfg.Rooms.DefaultVersion, map[gomatrixserverlib.RoomVersion]string{}}
	for version := range gomatrixserverlib.StableRoomVersions() {
		// Spec: rooms#room-version-grammar. Versions with a dot are experiments of somebody's.
		if !strings.Contains(string(version), ".") {
			versions.Available[version] = "stable"
		}
	}
	out := map[string]any{
		"m.change_password":          enabled(cfg.Passwords.Enabled),
		"m.room_versions":            versions,
		"m.set_displayname":          enabled(true),
		"m.set_avatar_url":           enabled(true),
		"m.profile_fields":           enabled(true),
		"m.3pid_changes":             enabled(a.accounts.ThreepidChanges()),
		"m.get_login_token":          enabled(true),
		"m.forget_forced_upon_leave": enabled(false),
	}
	if most := cfg.Rooms.MaxDelayedEvents; most > 0 {
		// Spec: MSC4140#delayed-event-limits-as-a-capability
		out["org.matrix.msc4140.delayed_events"] = map[string]int64{"max_delay_ms": cfg.Rooms.MaxDelay.Milliseconds(), "max_scheduled": int64(most)}
	}
	if r.Caller.Admin {
		out["m.account_moderation"] = map[string]bool{"suspend": true, "lock": true}
	}
	return map[string]any{"capabilities": out}, nil
}
