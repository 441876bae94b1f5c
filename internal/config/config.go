// Package config holds Hearth's settings: one struct, its defaults, and one way to load it.
//
// A configuration comes from a YAML file, from the environment (HEARTH_MEDIA_FREEZE_ENABLED is media.freeze.enabled) and from
// flags, each overruling the one before. Keys that do not exist and values that make no sense are refused, all at once and each with
// its key: a server that starts runs with what its operator wrote, not with what was left of it.
package config

import (
	"path/filepath"
	"strings"
	"time"
)

// Config is everything an operator can set. A field's `key` tag is its name in the file; its comment is what config.sample.yaml says
// about it; `reload:"yes"` marks what SIGHUP applies to a running server.
type Config struct {
	// Who this server is and where it listens.
	Server Server `key:"server"`
	// Where everything but media is stored: one SQLite file, or a PostgreSQL database.
	Database Database `key:"database"`
	// How much memory the server may use.
	Memory Memory `key:"memory"`
	// What the server tells clients and servers that look for it by its name alone (/.well-known/matrix).
	WellKnown WellKnown `key:"well_known"`
	// Who may make an account here.
	Registration Registration `key:"registration"`
	// How passwords are judged and kept.
	Passwords Passwords `key:"passwords"`
	// How long logins last.
	Sessions Sessions `key:"sessions"`
	// Sending e-mail: to confirm addresses, to reset passwords, and about messages that nobody has read.
	Email Email `key:"email"`
	// Logging in at an OpenID Connect provider (docs/sso.md).
	SSO SSO `key:"sso"`
	// How often one client may do what costs something. A request too many is answered with 429 M_LIMIT_EXCEEDED.
	RateLimits RateLimits `key:"rate_limits"`
	// Rooms that are made here.
	Rooms Rooms `key:"rooms"`
	// What the administrators have to tell single users (hearth notice), in a room that each of them has for that.
	ServerNotices ServerNotices `key:"server_notices"`
	// What users are notified of.
	Push Push `key:"push"`
	// Showing users who of the others is online.
	Presence Presence `key:"presence"`
	// Pictures, files and what becomes of them.
	Media Media `key:"media"`
	// Which addresses the server may connect to when somebody else names the host: URL previews, remote media, push gateways, other
	// servers.
	Outbound Outbound `key:"outbound"`
	// A relay for voice and video calls.
	TURN TURN `key:"turn"`
	// Calls of several people (MatrixRTC, as in Element Call).
	RTC RTC `key:"rtc"`
	// Talking to other Matrix servers.
	Federation Federation `key:"federation"`
	// Registration files of application services: bridges and bots that act for many users.
	Appservices []string `key:"appservices"`
	// What the server writes about its work.
	Log Log `key:"log"`
}

// Server names the server and its listeners.
type Server struct {
	// The part of user and room ids after the colon. It can never be changed once somebody uses the server, so choose it before: it
	// is usually your domain, and need not be the name of the machine.
	Name string `key:"name"`
	// The URL clients reach this server at, as it is seen from outside. Empty: http:// and the listening address when the name is
	// localhost, else https:// and the name.
	PublicBaseURL string `key:"public_base_url"`
	// The address of the plain HTTP listener for clients. Only this machine can reach the default; put a reverse proxy with TLS in
	// front, or use 0.0.0.0:8008 inside a container.
	Listen string `key:"listen"`
	// The address of the listener for Prometheus metrics, for instance localhost:9090. Empty: none. Never make it public.
	MetricsListen string `key:"metrics_listen"`
	// Reverse proxies whose X-Forwarded-For header is believed.
	TrustedProxies []Prefix `key:"trusted_proxies"`
	// The directory all relative paths below start from. It is itself relative to the directory the server is started in.
	DataDir string `key:"data_dir"`
	// The file with the key that signs everything this server says. Whoever has it can pose as this server; whoever loses it has a
	// server others no longer believe. Keep a copy in a safe place.
	SigningKeyPath string `key:"signing_key_path"`
	// The Unix socket through which `hearth user`, `hearth media`, `hearth push`, `hearth notice` and `hearth report` reach the
	// running server. Empty: none.
	AdminSocket string `key:"admin_socket"`
	// How long requests under way may take to finish after SIGTERM.
	DrainTimeout time.Duration `key:"drain_timeout"`
}

// Database says where rows are kept.
type Database struct {
	// The SQLite file.
	Path string `key:"path"`
	// A PostgreSQL database instead of the file: postgres://user:password@host:5432/hearth.
	URL string `key:"url" secret:"yes"`
	// The largest number of connections to PostgreSQL, or of readers of the SQLite file.
	MaxConnections int `key:"max_connections"`
}

// Memory bounds the process.
type Memory struct {
	// The memory the server tries to stay within. All caches together take at most three quarters of it (docs/performance.md has the
	// table), and the garbage collector works harder as it comes near; GOMEMLIMIT in the environment overrules what it is told. It is a
	// goal, not a wall, and pictures are made outside of it.
	Limit ByteSize `key:"limit"`
}

// WellKnown is what discovery answers beyond the addresses.
type WellKnown struct {
	// The host and port other servers shall connect to when it is not the server's name on port 8448, for instance
	// matrix.example.org:443. Empty: /.well-known/matrix/server is not served.
	Server string `key:"server" reload:"yes"`
	// A page with help for the users of this server.
	SupportPage string `key:"support_page" reload:"yes"`
	// The public key (ed25519, in base64) of the policy server that runs under this server's name, for rooms that want to use it. Empty:
	// /.well-known/matrix/policy_server is not served.
	PolicyServerKey string `key:"policy_server_key" reload:"yes"`
	// Who looks after this server: a list of entries with role (m.role.admin or m.role.security), matrix_id and email_address.
	Contacts []Contact `key:"contacts" reload:"yes"`
}

// Contact is one way to reach those who run the server.
type Contact struct {
	Role         string `key:"role" json:"role"`
	MatrixID     string `key:"matrix_id" json:"matrix_id,omitempty"`
	EmailAddress string `key:"email_address" json:"email_address,omitempty"`
}

// Outbound guards connections whose target a stranger chose.
type Outbound struct {
	// Networks that are never connected to. The resolved address counts, so a name that points inside does not help anybody.
	DenyNetworks []Prefix `key:"deny_networks"`
	// Exceptions from deny_networks. Push gateways in these networks, as one's own may be, need no TLS.
	AllowNetworks []Prefix `key:"allow_networks"`
}

// Federation configures the server-server listener.
type Federation struct {
	// The address of the HTTPS listener for other servers, usually 0.0.0.0:8448. Empty: none; a reverse proxy may pass federation to
	// the client listener instead.
	Listen string `key:"listen"`
	// The certificate (chain) of that listener, PEM.
	TLSCertificate string `key:"tls_certificate"`
	// The private key of the certificate, PEM.
	TLSKey string `key:"tls_key"`
	// A file with authorities (PEM) that are trusted beside the system's when connecting to other servers. For test networks.
	CAFile string `key:"ca_file"`
	// Servers that are asked for the signing keys of those that do not answer themselves, for instance matrix.org. They are believed. Without
	// any, events of servers that are gone cannot be checked and are left out.
	TrustedKeyServers []string `key:"trusted_key_servers"`
	// Keys this server signed with before, so that others can still check what it said then: a list of entries with id
	// ("ed25519:a_b1"), key (the public key, as /_matrix/key/v2/server showed it) and expired_ts (when it was retired, in
	// milliseconds since 1970).
	OldVerifyKeys []OldVerifyKey `key:"old_verify_keys"`
	// Tell other servers what users call their devices. They are told the ids of devices in any case.
	DeviceNames bool `key:"device_names"`
}

// OldVerifyKey is a signing key that is no longer in use.
type OldVerifyKey struct {
	ID      string `key:"id"`
	Key     string `key:"key"`
	Expired int64  `key:"expired_ts"`
}

// Log configures logging.
type Log struct {
	// The least level that is written: debug, info, warn or error.
	Level LogLevel `key:"level"`
	// text, json, or auto: text on a terminal, else JSON.
	Format LogFormat `key:"format"`
}

// LogLevel is a value of log.level.
type LogLevel string

// The levels of logging.
const (
	LogDebug LogLevel = "debug"
	LogInfo  LogLevel = "info"
	LogWarn  LogLevel = "warn"
	LogError LogLevel = "error"
)

// LogFormat is a value of log.format.
type LogFormat string

// The formats of logging.
const (
	LogAuto LogFormat = "auto"
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)

// Default returns the configuration of a server whose operator has said nothing: reachable from its own machine only, closed to
// strangers, media frozen.
func Default() Config {
	return Config{
		Server: Server{
			Name:           "localhost",
			Listen:         "localhost:8008",
			TrustedProxies: mustPrefixes("127.0.0.0/8", "::1/128"),
			DataDir:        "data",
			SigningKeyPath: "signing.key",
			AdminSocket:    "admin.sock",
			DrainTimeout:   5 * time.Second,
		},
		Database:     Database{Path: "hearth.db", MaxConnections: 8},
		Memory:       Memory{Limit: 256 * MiB},
		Registration: defaultRegistration(),
		Passwords:    defaultPasswords(),
		Sessions:     defaultSessions(),
		Email:        defaultEmail(),
		RateLimits:   defaultRateLimits(),
		Rooms:        Rooms{DefaultVersion: "11", MaxDelay: 24 * time.Hour, MaxDelayedEvents: 100},
		ServerNotices: ServerNotices{
			Localpart: "_server", DisplayName: "Server notices", RoomName: "Server notices",
		},
		Push:     Push{LegacyMentions: true},
		Presence: Presence{Enabled: true},
		Media:    defaultMedia(),
		Outbound: Outbound{DenyNetworks: mustPrefixes(specialNetworks...)},
		TURN:     TURN{TTL: 24 * time.Hour},
		Log:      Log{Level: LogInfo, Format: LogAuto},
	}
}

// specialNetworks are the IANA special-purpose ranges: nothing a stranger may send this server to is in them.
var specialNetworks = []string{
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
	"192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
	"::/128", "::1/128", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "fc00::/7",
	"fe80::/10", "fec0::/10", "ff00::/8",
}

// File resolves a path of the configuration: relative ones start from server.data_dir.
func (c *Config) File(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(c.Server.DataDir, path)
}

// Files resolves paths of the configuration as File does.
func (c *Config) Files(paths []string) []string {
	out := make([]string, len(paths))
	for i, path := range paths {
		out[i] = c.File(path)
	}
	return out
}

// BaseURL is the URL of the client API as seen from outside, without a slash at its end.
func (c *Config) BaseURL() string {
	if c.Server.PublicBaseURL != "" {
		return strings.TrimRight(c.Server.PublicBaseURL, "/")
	}
	if c.Server.Name == "localhost" {
		return "http://" + c.Server.Listen
	}
	return "https://" + c.Server.Name
}
