package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var comparePrefixes = cmp.Comparer(func(a, b Prefix) bool { return a == b })

// write puts a configuration file into a directory of the test.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hearth.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoad(t *testing.T) {
	tests := []struct {
		name  string
		file  string
		env   map[string]string
		flags []string
		want  func(c *Config)
	}{
		{name: "nothing said is the default", want: func(*Config) {}},
		{
			name: "the file overrules the default",
			file: "server:\n  name: example.org\nmedia:\n  freeze:\n    enabled: false\n    at: 2024-09-04T02:00:00+02:00\n",
			want: func(c *Config) {
				c.Server.Name = "example.org"
				c.Media.Freeze = Freeze{At: time.Date(2024, 9, 4, 0, 0, 0, 0, time.UTC)}
			},
		},
		{
			name: "an instant may be in quotes",
			file: "media: {freeze: {at: \"2024-09-04T00:00:00Z\"}}",
			want: func(c *Config) { c.Media.Freeze.At = time.Date(2024, 9, 4, 0, 0, 0, 0, time.UTC) },
		},
		{
			name: "the environment overrules the file",
			file: "media: {freeze: {enabled: true}, max_upload: 1 MiB}",
			env:  map[string]string{"HEARTH_MEDIA_FREEZE_ENABLED": "false"},
			want: func(c *Config) { c.Media.Freeze.Enabled = false; c.Media.MaxUpload = MiB },
		},
		{
			name:  "a flag overrules the environment",
			env:   map[string]string{"HEARTH_SERVER_NAME": "env.example", "HEARTH_LOG_LEVEL": "warn"},
			flags: []string{"--server.name=flag.example", "--registration.guests"},
			want: func(c *Config) {
				c.Server.Name = "flag.example"
				c.Log.Level = LogWarn
				c.Registration.Guests = true
			},
		},
		{
			name: "an empty variable empties a list and takes an instant back",
			file: "media: {freeze: {at: 2024-09-04T00:00:00Z}}",
			env:  map[string]string{"HEARTH_OUTBOUND_DENY_NETWORKS": "", "HEARTH_MEDIA_FREEZE_AT": ""},
			want: func(c *Config) { c.Outbound.DenyNetworks = nil },
		},
		{
			name: "lists come from commas or sequences",
			file: "turn:\n  uris: [\"turn:a\", \"turn:b\"]\n",
			env:  map[string]string{"HEARTH_SERVER_TRUSTED_PROXIES": "10.1.2.3/8, 192.0.2.1"},
			want: func(c *Config) {
				c.TURN.URIs = []string{"turn:a", "turn:b"}
				c.Server.TrustedProxies = mustPrefixes("10.0.0.0/8", "192.0.2.1/32")
			},
		},
		{
			name: "entries come from YAML or from JSON in a variable",
			file: "well_known:\n  contacts:\n    - role: m.role.admin\n      matrix_id: \"@ann:example.org\"\n",
			env:  map[string]string{"HEARTH_REGISTRATION_TERMS": `[{"id":"privacy","version":"1","name":"Privacy","url":"https://example.org/p","language":"en"}]`},
			want: func(c *Config) {
				c.WellKnown.Contacts = []Contact{{Role: "m.role.admin", MatrixID: "@ann:example.org"}}
				c.Registration.Terms = []Terms{{ID: "privacy", Version: "1", Name: "Privacy", URL: "https://example.org/p", Language: "en"}}
			},
		},
		{
			name: "old keys are copied from a key document",
			file: "federation:\n  old_verify_keys:\n    - id: ed25519:a_b1\n      key: 11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo\n      expired_ts: 1700000000000\n",
			want: func(c *Config) {
				c.Federation.OldVerifyKeys = []OldVerifyKey{
					{ID: "ed25519:a_b1", Key: "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo", Expired: 1_700_000_000_000},
				}
			},
		},
		{
			name: "a relay on this machine may have a password without TLS",
			file: "email: {host: \"::1\", tls: none, user: u, password: p, from: a@b}",
			want: func(c *Config) {
				c.Email.Host, c.Email.TLS, c.Email.User, c.Email.Password, c.Email.From = "::1", EmailNoTLS, "u", "p", "a@b"
			},
		},
		{
			name: "sections and keys with nothing behind them say nothing",
			file: "server:\nmedia:\n  dir:\n  max_pixels: 7\n",
			want: func(c *Config) { c.Media.MaxPixels = 7 },
		},
		{
			name: "variables of the tests, of the launcher and of Kubernetes are not settings",
			env:  map[string]string{"HEARTH_CONFIG": "x", "HEARTH_TEST_POSTGRES": "x", "HEARTH_PORT_8008_TCP": "x", "HEARTH_SERVICE_HOST": "x"},
			want: func(*Config) {},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for k, v := range test.env {
				t.Setenv(k, v)
			}
			src := Source{Flags: Flags()}
			if test.file != "" {
				src.File = write(t, test.file)
			}
			if err := src.Flags.Parse(test.flags); err != nil {
				t.Fatal(err)
			}
			got, err := Load(src)
			if err != nil {
				t.Fatal(err)
			}
			want := Default()
			test.want(&want)
			if diff := cmp.Diff(want, got, comparePrefixes); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestLoadRefuses(t *testing.T) {
	tests := []struct {
		name string
		file string
		env  map[string]string
		want []string // all lines of the error
	}{
		{
			name: "unknown keys, with the one that was meant",
			file: "freeze: {enabled: true}\nmedia: {frees: 1}\n",
			want: []string{"freeze.enabled: unknown key (did you mean media.freeze.enabled?)", "media.frees: unknown key"},
		},
		{
			name: "a value where a section belongs",
			file: "media: 5",
			want: []string{"media: is a section and takes no value"},
		},
		{
			name: "a section where a value belongs",
			file: "log: {level: {a: b}}",
			want: []string{"log.level: map[a:b] is not text; put it in quotes"},
		},
		{
			name: "unknown variables",
			env:  map[string]string{"HEARTH_MEDIA_FREEZE": "false"},
			want: []string{"HEARTH_MEDIA_FREEZE: no setting has this environment variable"},
		},
		{
			name: "all unreadable values at once",
			file: "server: {drain_timeout: 10, name: 7}\nmedia: {freeze: {at: yesterday, enabled: perhaps}, max_upload: lots, max_frames: 1.5}\n" +
				"turn: {uris: 5}\nwell_known: {contacts: [{rolle: x}]}\nrate_limits: {login: {per_second: fast}}",
			env: map[string]string{"HEARTH_OUTBOUND_ALLOW_NETWORKS": "10.0.0.0/64"},
			want: []string{
				`server.name: 7 is not text; put it in quotes`,
				`server.drain_timeout: 10 is not a duration like 30s, 12h or 7d`,
				`well_known.contacts: an entry has unknown keys: rolle`,
				`rate_limits.login.per_second: "fast" is not a number`,
				`media.freeze.enabled: "perhaps" is neither true nor false`,
				`media.freeze.at: "yesterday" is not an instant like 2024-09-04T00:00:00Z (RFC 3339)`,
				`media.max_upload: "lots" is not a size like 50 MiB or 1 GB`,
				`media.max_frames: "1.5" is not a whole number`,
				`outbound.allow_networks: "10.0.0.0/64" is not a network like 10.0.0.0/8 or an address`,
				`turn.uris: 5 is not a list`,
			},
		},
		{
			name: "all values without sense at once",
			file: "server: {name: \"not a name\", listen: here, public_base_url: ftp://x}\nregistration: {mode: maybe, username_pattern: \"(\"}\n" +
				"rooms: {default_version: \"99\"}\nfederation: {listen: \"127.0.0.1:8448\"}\npasswords: {min_length: 0, hash_iterations: 101}\nmemory: {limit: 1 KiB}\n" +
				"rate_limits: {join: {burst: 0}}\nlog: {level: loud}\nturn: {uris: [\"http://x\"]}\nwell_known: {contacts: [{role: m.role.admin}], policy_server_key: \"xyz\"}\nrtc: {livekit_services: [x]}",
			want: []string{
				`server.name: "not a name" is not a server name like example.org`,
				`server.public_base_url: "ftp://x" is not an http or https URL`,
				`server.listen: "here" is not an address like localhost:8008`,
				`memory.limit: 1 KiB is less than 64 MiB`,
				`well_known.policy_server_key: "xyz" is not 32 bytes in base64`,
				`well_known.contacts: an entry has neither matrix_id nor email_address`,
				`federation.tls_certificate: is needed for federation.listen`,
				`federation.tls_key: is needed for federation.listen`,
				`log.level: "loud" is none of debug, info, warn, error`,
				`registration.mode: "maybe" is none of disabled, token, open`,
				`registration.username_pattern: "(" is not a regular expression`,
				`passwords.min_length: 0 is not between 1 and 512`,
				`passwords.hash_iterations: 101 is not between 1 and 100`,
				`rate_limits.join.burst: must be more than 0`,
				`rooms.default_version: "99" is not a room version from 1 to 12`,
				`turn.uris: "http://x" is neither a turn: nor a stun: URI`,
				`rtc.livekit_services: "x" is not an http or https URL`,
			},
		},
		{
			name: "old keys that others could not read",
			file: "federation: {old_verify_keys: [{id: \"rsa:1\", key: 11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=, expired_ts: 1700000000000}, " +
				"{id: \"ed25519:2\", key: abc, expired_ts: 1700000000}, {id: \"ed25519:2\", key: 11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo, expired_ts: 1700000000000}]}",
			want: []string{
				`federation.old_verify_keys: "rsa:1" is not a key id like ed25519:a_b1`,
				`federation.old_verify_keys: the key of "ed25519:2" is not 32 bytes in base64`,
				`federation.old_verify_keys: the expired_ts of "ed25519:2" is not a moment in milliseconds since 1970`,
				`federation.old_verify_keys: "ed25519:2" is there twice`,
			},
		},
		{
			name: "mail that could not be sent, or would betray a password",
			file: "registration: {require_email: true}\nemail: {port: 0, tls: maybe, user: u, app_name: \"a\\nb\", client_url: app, token_lifetime: 1s, " +
				"allowed_domains: [a@b], next_link_hosts: [\"https://x\"]}",
			want: []string{
				`email.port: 0 is not between 1 and 65535`,
				`email.tls: "maybe" is none of starttls, implicit, none`,
				`email.token_lifetime: 1s is not between 5m and 7d`,
				`email.client_url: "app" is not an http or https URL`,
				`email.app_name: must be one line`,
				`email.allowed_domains: "a@b" is not a domain like example.org`,
				`email.next_link_hosts: "https://x" is not a host like example.org`,
				`email.password: is needed for email.user`,
				`email.host: is needed for the other settings of email`,
				`registration.require_email: needs email.host, or nobody could register`,
			},
		},
		{
			name: "a relay that is none, a sender that is none, and a password in the clear",
			file: "email: {host: \"relay:25\", tls: none, user: u, password: p, password_file: f, from: me}",
			want: []string{
				`email.password_file: cannot be used together with email.password`,
				`email.host: "relay:25" is not a host like smtp.example.org`,
				`email.tls: a password is not sent to another machine without TLS`,
				`email.from: "me" is not an address like Hearth <matrix@example.org>`,
			},
		},
		{
			name: "providers that nobody could log in at",
			file: "sso: {trusted_clients: [\"https:/\", \"app.example.org\"], providers: [" +
				"{id: a b, issuer: http://sso.example.org, icon: x, brand: A}, " +
				"{id: x, name: X, issuer: https://sso.example.org, client_id: c, localpart: \"{{.a\", taken: steal}, " +
				"{id: x, name: X, issuer: http://127.0.0.1:8080/, client_id: c}]}",
			want: []string{
				`sso.trusted_clients: "https:/" stands for the whole web`,
				`sso.trusted_clients: "app.example.org" is not the beginning of a URL like https://app.example.org/ or app.example:/`,
				`sso.providers: "a b" is not an id of letters, digits and ._~-`,
				`sso.providers: "a b" has no name`,
				`sso.providers: "a b": "A" is not a brand like github`,
				`sso.providers: "a b": the icon "x" is not an mxc:// URI`,
				`sso.providers: "a b": the issuer "http://sso.example.org" is not an https URL`,
				`sso.providers: "a b" has no client_id`,
				`sso.providers (taken): "steal" is none of refuse, number, link`,
				`sso.providers: "x": the template "{{.a" cannot be read: template: claim:1: unclosed action`,
				`sso.providers: "x" is there twice`,
			},
		},
		{
			name: "providers with too long an id or brand",
			file: "sso: {providers: [{id: " + strings.Repeat("i", 256) + ", name: X, brand: " + strings.Repeat("b", 256) + ", issuer: https://sso.example.org, client_id: c}]}",
			want: []string{
				`sso.providers: "` + strings.Repeat("i", 256) + `" is not an id of letters, digits and ._~-`,
				`sso.providers: "` + strings.Repeat("i", 256) + `": "` + strings.Repeat("b", 256) + `" is not a brand like github`,
			},
		},
		{
			name: "a secret of a provider, without showing it",
			file: "sso: {providers: [{id: x, client_secret: 4711}]}",
			want: []string{"sso.providers: client_secret: the value cannot be read as text; put it in quotes"},
		},
		{
			name: "a secret, without showing it",
			file: "registration: {shared_secret: 4711}",
			want: []string{"registration.shared_secret: the value cannot be read as text; put it in quotes"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for k, v := range test.env {
				t.Setenv(k, v)
			}
			src := Source{}
			if test.file != "" {
				src.File = write(t, test.file)
			}
			_, err := Load(src)
			if err == nil {
				t.Fatal("it was accepted")
			}
			if diff := cmp.Diff(test.want, strings.Split(err.Error(), "\n")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestLoadNamesTheFileItCannotRead(t *testing.T) {
	broken := write(t, "server: {name")
	for _, path := range []string{broken, filepath.Join(t.TempDir(), "missing.yaml")} {
		_, err := Load(Source{File: path})
		if err == nil || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
			t.Errorf("Load(%s) = %v", path, err)
		}
	}
}

func TestEveryStableRoomVersionMayBeTheDefault(t *testing.T) {
	for _, version := range strings.Fields("1 2 3 4 5 6 7 8 9 10 11 12") {
		cfg := Default()
		cfg.Rooms.DefaultVersion = version
		if err := cfg.Validate(); err != nil {
			t.Error(err)
		}
	}
}

func TestReload(t *testing.T) {
	path := write(t, "media: {freeze: {enabled: true}}")
	old, err := Load(Source{File: path})
	if err != nil {
		t.Fatal(err)
	}
	rewrite := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	rewrite("media: {freeze: {enabled: false}, dir: elsewhere}\nserver: {listen: \"localhost:9\"}")
	next, changes, err := Reload(old, Source{File: path})
	if err != nil {
		t.Fatal(err)
	}
	want := old
	want.Media.Freeze.Enabled = false
	if diff := cmp.Diff(want, next, comparePrefixes); diff != "" {
		t.Errorf("only the reloadable setting is taken over (-want +got):\n%s", diff)
	}
	wantChanges := []Change{{"server.listen", false}, {"media.dir", false}, {"media.freeze.enabled", true}}
	if diff := cmp.Diff(wantChanges, changes); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}

	rewrite("media: {freeze: {enabled: maybe}}")
	kept, _, err := Reload(next, Source{File: path})
	if err == nil || !strings.Contains(err.Error(), "media.freeze.enabled") {
		t.Errorf("a bad configuration was accepted: %v", err)
	}
	if diff := cmp.Diff(next, kept, comparePrefixes); diff != "" {
		t.Errorf("the old configuration stays in force (-want +got):\n%s", diff)
	}
}

func TestPathsStartFromTheDataDirectory(t *testing.T) {
	cfg := Default()
	cfg.Server.DataDir = "/var/lib/hearth"
	for path, want := range map[string]string{"": "", "media": "/var/lib/hearth/media", "/srv/media": "/srv/media"} {
		if got := cfg.File(path); got != want {
			t.Errorf("File(%q) = %q, want %q", path, got, want)
		}
	}
}

func TestBaseURL(t *testing.T) {
	for _, test := range []struct{ name, public, want string }{
		{"localhost", "", "http://localhost:8008"},
		{"example.org", "", "https://example.org"},
		{"example.org", "https://matrix.example.org/", "https://matrix.example.org"},
	} {
		cfg := Default()
		cfg.Server.Name, cfg.Server.PublicBaseURL = test.name, test.public
		if got := cfg.BaseURL(); got != test.want {
			t.Errorf("BaseURL of %s with %q = %q, want %q", test.name, test.public, got, test.want)
		}
	}
}

func TestEverySettingHasItsOwnVariable(t *testing.T) {
	cfg := Default()
	var names []string
	for _, f := range fields(&cfg) {
		names = append(names, envName(f.key))
	}
	slices.Sort(names)
	if unique := slices.Compact(slices.Clone(names)); len(unique) != len(names) {
		t.Errorf("two settings share a variable: %v", names)
	}
}
