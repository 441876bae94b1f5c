package app

import (
	"context"
	"net/http"
	"net/netip"
	"strings"

	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/pusher"
	"github.com/hearthd/hearth/internal/safehttp"
)

// openPushers builds what tells phones. A gateway without TLS must be in a network that the operator has allowed by name, as one's own is.
func (a *App) openPushers(ctx context.Context, cfg *config.Config, opts Options) (*pusher.Service, error) {
	agent := "Hearth/" + opts.Version
	var plain *http.Client
	if own := cfg.Outbound.AllowNetworks; len(own) > 0 {
		everything := []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
		plain = safehttp.New(safehttp.NewGuard(everything, own), agent)
	}
	return pusher.New(ctx, pusher.Options{
		Mail: a.mail, Pages: func() pusher.Pages {
			cfg := a.live.Get()
			return pusher.Pages{Client: strings.TrimRight(cfg.Email.ClientURL, "/"), Base: cfg.BaseURL()}
		},
		Store: a.store, Clock: opts.Clock, Log: a.log, Metrics: a.metrics, Plain: plain,
		Web: safehttp.New(safehttp.NewGuard(cfg.Outbound.DenyNetworks, cfg.Outbound.AllowNetworks), agent),
	})
}
