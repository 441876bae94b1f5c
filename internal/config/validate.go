package config

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/matrix-org/gomatrixserverlib"

	"github.com/hearthd/hearth/internal/id"
)

// problems collects what is wrong, each with its key.
type problems []error

func (p *problems) add(key, format string, args ...any) {
	*p = append(*p, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
}

// check adds the problem unless ok.
func (p *problems) check(ok bool, key, format string, args ...any) {
	if !ok {
		p.add(key, format, args...)
	}
}

// Validate reports every value that makes no sense, joined, each with its key.
func (c *Config) Validate() error {
	var p problems
	c.validateServer(&p)
	c.validateAccounts(&p)
	c.validateEmail(&p)
	c.validateSSO(&p)
	c.validateMedia(&p)
	return errors.Join(p...)
}

func (c *Config) validateServer(p *problems) {
	s := c.Server
	if _, err := id.ParseServerName(s.Name); err != nil {
		p.add("server.name", "%q is not a server name like example.org", s.Name)
	}
	p.check(s.PublicBaseURL == "" || isHTTP(s.PublicBaseURL), "server.public_base_url", "%q is not an http or https URL", s.PublicBaseURL)
	p.listen("server.listen", s.Listen, true)
	p.listen("server.metrics_listen", s.MetricsListen, false)
	p.check(s.DataDir != "", "server.data_dir", "must not be empty")
	p.check(s.SigningKeyPath != "", "server.signing_key_path", "must not be empty")
	p.check(s.DrainTimeout <= time.Minute, "server.drain_timeout", "%s is longer than a minute", s.DrainTimeout)

	p.check(c.Database.URL != "" || c.Database.Path != "", "database.path", "must not be empty without database.url")
	if c.Database.URL != "" {
		u, err := url.Parse(c.Database.URL)
		p.check(err == nil && (u.Scheme == "postgres" || u.Scheme == "postgresql"), "database.url", "is not a postgres:// URL")
	}
	p.between("database.max_connections", int64(c.Database.MaxConnections), 1, 1000)
	p.check(c.Memory.Limit >= 64*MiB, "memory.limit", "%s is less than 64 MiB", c.Memory.Limit)

	if w := c.WellKnown.Server; w != "" {
		_, err := id.ParseServerName(w)
		p.check(err == nil, "well_known.server", "%q is not a host with an optional port", w)
	}
	p.check(c.WellKnown.SupportPage == "" || isHTTP(c.WellKnown.SupportPage), "well_known.support_page", "%q is not an http or https URL", c.WellKnown.SupportPage)
	if k := c.WellKnown.PolicyServerKey; k != "" {
		p.check(isPublicKey(k), "well_known.policy_server_key", "%q is not 32 bytes in base64", k)
	}
	for _, contact := range c.WellKnown.Contacts {
		// Spec: client-server-api#getwell-knownmatrixsupport
		p.check(contact.Role != "", "well_known.contacts", "an entry has no role")
		p.check(contact.MatrixID != "" || contact.EmailAddress != "", "well_known.contacts", "an entry has neither matrix_id nor email_address")
		p.check(contact.MatrixID == "" || strings.HasPrefix(contact.MatrixID, "@"), "well_known.contacts", "%q is not a user id", contact.MatrixID)
	}

	f := c.Federation
	p.listen("federation.listen", f.Listen, false)
	p.check(f.Listen == "" || f.TLSCertificate != "", "federation.tls_certificate", "is needed for federation.listen")
	p.check(f.Listen == "" || f.TLSKey != "", "federation.tls_key", "is needed for federation.listen")
	for _, name := range f.TrustedKeyServers {
		_, err := id.ParseServerName(name)
		p.check(err == nil, "federation.trusted_key_servers", "%q is not a server name like example.org", name)
	}
	ids := map[string]bool{}
	for _, old := range f.OldVerifyKeys {
		const key = "federation.old_verify_keys"
		p.check(verifyKeyID.MatchString(old.ID), key, "%q is not a key id like ed25519:a_b1", old.ID)
		p.check(!ids[old.ID], key, "%q is there twice", old.ID)
		p.check(isPublicKey(old.Key), key, "the key of %q is not 32 bytes in base64", old.ID)
		// The year 2001 in milliseconds is far in the future in seconds, which are what goes wrong here.
		p.check(old.Expired >= 1e12, key, "the expired_ts of %q is not a moment in milliseconds since 1970", old.ID)
		ids[old.ID] = true
	}

	p.oneOf("log.level", string(c.Log.Level), string(LogDebug), string(LogInfo), string(LogWarn), string(LogError))
	p.oneOf("log.format", string(c.Log.Format), string(LogAuto), string(LogText), string(LogJSON))
}

func (c *Config) validateAccounts(p *problems) {
	r := c.Registration
	p.oneOf("registration.mode", string(r.Mode), string(RegistrationDisabled), string(RegistrationToken), string(RegistrationOpen))
	p.between("registration.username_min_length", int64(r.UsernameMinLength), 1, 200)
	if _, err := regexp.Compile(r.UsernamePattern); err != nil {
		p.add("registration.username_pattern", "%q is not a regular expression", r.UsernamePattern)
	}
	for _, t := range r.Terms {
		p.check(t.ID != "" && t.Version != "" && t.Name != "" && t.Language != "", "registration.terms", "an entry lacks id, version, name or language")
		p.check(isHTTP(t.URL), "registration.terms", "%q is not an http or https URL", t.URL)
	}

	p.between("passwords.min_length", int64(c.Passwords.MinLength), 1, 512)
	p.check(c.Passwords.HashMemory >= 64*KiB && c.Passwords.HashMemory <= 4*GiB, "passwords.hash_memory", "%s is not between 64 KiB and 4 GiB", c.Passwords.HashMemory)
	p.between("passwords.hash_iterations", int64(c.Passwords.HashIterations), 1, 100)
	p.between("passwords.hash_workers", int64(c.Passwords.HashWorkers), 1, 256)

	p.check(c.Sessions.AccessTokenLifetime >= time.Second, "sessions.access_token_lifetime", "must be at least 1s")
	p.check(c.Sessions.LoginTokenLifetime >= time.Second, "sessions.login_token_lifetime", "must be at least 1s")
	p.check(c.Sessions.OpenIDTokenLifetime >= time.Second, "sessions.openid_token_lifetime", "must be at least 1s")
	p.check(c.Sessions.AuthLifetime >= time.Second, "sessions.auth_lifetime", "must be at least 1s")

	for _, user := range c.RateLimits.ExemptUsers {
		_, err := id.ParseUserID(user)
		p.check(err == nil, "rate_limits.exempt_users", "%q is not a user id", user)
	}
	for _, limit := range []struct {
		key string
		RateLimit
	}{
		{"login", c.RateLimits.Login}, {"register", c.RateLimits.Register}, {"message", c.RateLimits.Message},
		{"join", c.RateLimits.Join}, {"invite", c.RateLimits.Invite}, {"read", c.RateLimits.Read}, {"write", c.RateLimits.Write},
		{"media", c.RateLimits.Media}, {"federation", c.RateLimits.Federation},
		{"email", c.RateLimits.Email}, {"email_address", c.RateLimits.EmailAddress},
	} {
		p.check(limit.PerSecond > 0, "rate_limits."+limit.key+".per_second", "must be more than 0")
		p.check(limit.Burst > 0, "rate_limits."+limit.key+".burst", "must be more than 0")
	}

	version := gomatrixserverlib.RoomVersion(c.Rooms.DefaultVersion)
	p.check(gomatrixserverlib.KnownRoomVersion(version) && gomatrixserverlib.StableRoomVersion(version),
		"rooms.default_version", "%q is not a room version from 1 to 12", c.Rooms.DefaultVersion)

	p.check(c.Rooms.MaxDelay >= time.Second, "rooms.max_delay", "must be at least 1s")
	p.between("rooms.max_delayed_events", int64(c.Rooms.MaxDelayedEvents), 0, 1000)

	if n := c.ServerNotices; n.Localpart != "" {
		_, err := id.ParseUserID("@" + n.Localpart + ":localhost")
		p.check(err == nil && n.Localpart == strings.ToLower(n.Localpart), "server_notices.localpart", "%q is not the part of a user id before the colon", n.Localpart)
		p.mxc("server_notices.avatar_url", n.AvatarURL)
		p.mxc("server_notices.room_avatar_url", n.RoomAvatarURL)
	}

	for _, uri := range c.TURN.URIs {
		p.check(strings.HasPrefix(uri, "turn:") || strings.HasPrefix(uri, "turns:") || strings.HasPrefix(uri, "stun:") || strings.HasPrefix(uri, "stuns:"),
			"turn.uris", "%q is neither a turn: nor a stun: URI", uri)
	}
	for _, service := range c.RTC.LiveKitServices {
		p.check(isHTTP(service), "rtc.livekit_services", "%q is not an http or https URL", service)
	}
	p.check(c.TURN.TTL >= time.Minute, "turn.ttl", "must be at least 1m")
	p.check(c.TURN.SharedSecret == "" || c.TURN.Username == "", "turn.username", "cannot be used together with turn.shared_secret")
}

func (c *Config) validateMedia(p *problems) {
	m := c.Media
	p.check(m.Dir != "", "media.dir", "must not be empty")
	for _, server := range m.PreventDownloadsFrom {
		_, err := id.ParseServerName(server)
		p.check(err == nil, "media.prevent_downloads_from", "%q is not a server name like example.org", server)
	}
	p.check(m.MaxUpload > 0, "media.max_upload", "must be more than 0")
	p.between("media.max_pixels", m.MaxPixels, 1, 1<<31)
	p.between("media.max_frames", int64(m.MaxFrames), 1, 10_000)
	p.between("media.thumbnail_workers", int64(m.ThumbnailWorkers), 1, 256)
	p.check(m.PendingLifetime > 0, "media.pending_lifetime", "must be more than 0s")
	p.between("media.max_pending", int64(m.MaxPending), 1, 10_000)
	p.check(m.PreviewURL.MaxSize > 0, "media.preview_url.max_size", "must be more than 0")
	p.check(m.PreviewURL.Timeout > 0, "media.preview_url.timeout", "must be more than 0s")
}

// Spec: server-server-api#publishing-keys
var verifyKeyID = regexp.MustCompile(`^ed25519:[a-zA-Z0-9_]{1,64}$`)

// listen checks an address to listen on.
func (p *problems) listen(key, address string, needed bool) {
	if address == "" {
		p.check(!needed, key, "must not be empty")
		return
	}
	_, port, err := net.SplitHostPort(address)
	n, perr := strconv.ParseUint(port, 10, 16)
	p.check(err == nil && perr == nil && n <= 65535, key, "%q is not an address like localhost:8008", address)
}

// mxc checks a content URI that may be absent.
func (p *problems) mxc(key, uri string) {
	_, err := id.ParseMXC(uri)
	p.check(uri == "" || err == nil, key, "%q is not an mxc:// URI", uri)
}

func (p *problems) between(key string, n, low, high int64) {
	p.check(n >= low && n <= high, key, "%d is not between %d and %d", n, low, high)
}

func (p *problems) oneOf(key, value string, allowed ...string) {
	for _, a := range allowed {
		if value == a {
			return
		}
	}
	p.add(key, "%q is none of %s", value, strings.Join(allowed, ", "))
}

// isPublicKey reports whether text is an ed25519 key as Matrix writes them.
func isPublicKey(text string) bool {
	key, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
	return err == nil && len(key) == ed25519.PublicKeySize
}

func isHTTP(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}
