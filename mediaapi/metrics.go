package mediaapi

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hearthd/hearth/internal/obs"
)

type metrics struct {
	legacy *prometheus.CounterVec
	bytes  prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		legacy: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hearth_media_legacy_total",
			Help: "Downloads and thumbnails asked for without authentication, by client and result: served, refused by the freeze, or absent.",
		}, []string{"client", "result"}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hearth_media_uploaded_bytes_total",
			Help: "Bytes that users uploaded.",
		}),
	}
	return m, obs.Register(reg, m.legacy, m.bytes)
}

// The results of a legacy request.
const (
	legacyServed  = "served"
	legacyRefused = "refused"
	legacyAbsent  = "absent"
)

// families are the clients an operator may know by name, each with a word that its User-Agent has. The first match counts, so those that
// pose as others come before them.
var families = []struct{ word, family string }{
	{"synapse", "synapse"}, {"dendrite", "dendrite"}, {"conduit", "conduit"}, {"conduwuit", "conduit"}, {"tuwunel", "conduit"},
	{"continuwuity", "conduit"}, {"matrix-media-repo", "matrix-media-repo"}, {"hearth", "hearth"},
	{"mautrix", "mautrix"}, {"matrix-bot-sdk", "matrix-bot-sdk"}, {"matrix-appservice", "matrix-appservice"}, {"nio", "matrix-nio"},
	{"schildi", "schildichat"}, {"element", "element"}, {"fluffychat", "fluffychat"}, {"nheko", "nheko"}, {"cinny", "cinny"},
	{"neochat", "neochat"}, {"fractal", "fractal"}, {"gomuks", "gomuks"}, {"quaternion", "quaternion"}, {"commet", "commet"},
	{"beeper", "beeper"}, {"weechat", "weechat"}, {"matrix-rust-sdk", "matrix-rust-sdk"}, {"matrix-sdk", "matrix-rust-sdk"},
	{"dart", "dart"}, {"python", "python"}, {"aiohttp", "python"}, {"go-http-client", "go"}, {"okhttp", "okhttp"}, {"curl", "curl"},
	{"wget", "curl"}, {"bot", "bot"}, {"mozilla", "browser"},
}

// clientFamily maps a User-Agent to one of few names, so that clients cannot make up metrics.
func clientFamily(userAgent string) string {
	if userAgent == "" {
		return "none"
	}
	const longest = 512
	agent := strings.ToLower(userAgent[:min(len(userAgent), longest)])
	for _, f := range families {
		if strings.Contains(agent, f.word) {
			return f.family
		}
	}
	return "other"
}
