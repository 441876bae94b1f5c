package mediaapi

import (
	"log/slog"
	"time"

	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/storage"
)

// Policy is the freeze: media that became available here at or after At is served to callers with authentication only. The zero time
// is since ever. A Policy that is not enabled lets the legacy endpoints serve everything.
type Policy struct {
	Enabled bool
	At      time.Time
}

func policyOf(cfg config.Media) Policy {
	return Policy{Enabled: cfg.Freeze.Enabled, At: cfg.Freeze.At}
}

// frozen decides whether the legacy endpoints must hide m. It depends on nothing but its arguments: there is no memory of what the policy
// was before, so switching it off and on again changes nothing. What was decided for one media in particular comes first.
//
// Spec: client-server-api#content-repo-client-behaviour ("freeze")
func frozen(p Policy, m storage.Media) bool {
	switch m.Access {
	case storage.MediaPublic:
		return false
	case storage.MediaRestricted:
		return true
	}
	return p.Enabled && m.AvailableTS >= p.At.UnixMilli()
}

// frozenNow reports whether media that became available at this moment would be frozen. Then an anonymous request must not make this
// server fetch anything: nothing of it could be shown.
func (p Policy) frozenNow(now time.Time) bool {
	return p.Enabled && now.UnixMilli() >= p.At.UnixMilli()
}

func (p Policy) attrs() []any {
	since := "ever"
	if !p.At.IsZero() {
		since = p.At.UTC().Format(time.RFC3339Nano)
	}
	return []any{slog.Bool("enabled", p.Enabled), slog.String("since", since)}
}

// Freeze returns the policy in force.
func (s *Service) Freeze() Policy { return *s.policy.Load() }

// SetFreeze puts another policy in force for all requests that are decided from now on, and logs the change with its time.
func (s *Service) SetFreeze(p Policy) {
	old := s.policy.Swap(&p)
	if old.Enabled == p.Enabled && old.At.Equal(p.At) {
		return
	}
	s.log.Info("media freeze changed", append(p.attrs(),
		slog.Time("at", s.now()), slog.Group("before", old.attrs()...))...)
}
