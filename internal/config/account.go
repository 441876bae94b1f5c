package config

import "time"

// RegistrationMode is a value of registration.mode.
type RegistrationMode string

// The ways to an account.
const (
	// RegistrationDisabled lets nobody register but through the shared secret or `hearth user create`.
	RegistrationDisabled RegistrationMode = "disabled"
	// RegistrationToken asks for a registration token.
	RegistrationToken RegistrationMode = "token"
	// RegistrationOpen lets everybody in.
	RegistrationOpen RegistrationMode = "open"
)

// Registration says who may make an account.
type Registration struct {
	// disabled (only the administrator makes accounts), token (whoever has a registration token) or open (anybody, which also
	// attracts spammers).
	Mode RegistrationMode `key:"mode" reload:"yes"`
	// Whether a new user must confirm an e-mail address. Needs email.host; without this setting an address is welcome there, but not needed.
	RequireEmail bool `key:"require_email" reload:"yes"`
	// Whoever knows this secret makes accounts, also of administrators, through /_synapse/admin/v1/register. Empty: nobody.
	SharedSecret string `key:"shared_secret" reload:"yes" secret:"yes"`
	// Whether guests, accounts without a password that may only look on, can be made.
	Guests bool `key:"guests" reload:"yes"`
	// The least length of the part of a user id before the colon.
	UsernameMinLength int `key:"username_min_length" reload:"yes"`
	// A regular expression that names must match as a whole, beside the rules of the specification. Empty: any name will do.
	UsernamePattern string `key:"username_pattern" reload:"yes"`
	// Names that cannot be registered over the network.
	ReservedUsernames []string `key:"reserved_usernames" reload:"yes"`
	// Documents that must be agreed to before an account is made: a list of entries with id, version, name, url and language.
	Terms []Terms `key:"terms" reload:"yes"`
}

// Terms is a document that a new user has to agree to.
type Terms struct {
	ID       string `key:"id"`
	Version  string `key:"version"`
	Name     string `key:"name"`
	URL      string `key:"url"`
	Language string `key:"language"`
}

// Passwords says how passwords are judged and hashed (Argon2id).
type Passwords struct {
	// Whether users can log in with, and set, a password.
	Enabled bool `key:"enabled" reload:"yes"`
	// The least number of characters of a new password.
	MinLength int `key:"min_length" reload:"yes"`
	// Memory for one hash. More makes stolen hashes harder to break and each login dearer. A hash that was made with other settings is
	// made anew when its user logs in. OWASP takes 7 MiB with 5 passes, 12 MiB with 3 and 19 MiB with 2 to be equally hard.
	HashMemory ByteSize `key:"hash_memory"`
	// Passes over that memory.
	HashIterations int `key:"hash_iterations"`
	// Hashes computed at the same time; further logins wait.
	HashWorkers int `key:"hash_workers"`
}

// Sessions says how long tokens live.
type Sessions struct {
	// The life of an access token that comes with a refresh token.
	AccessTokenLifetime time.Duration `key:"access_token_lifetime" reload:"yes"`
	// The life of a refresh token that is not used. 0s: for ever.
	RefreshTokenLifetime time.Duration `key:"refresh_token_lifetime" reload:"yes"`
	// The life of an access token without a refresh token, after which the user is asked to log in again. 0s: for ever.
	PlainTokenLifetime time.Duration `key:"plain_token_lifetime" reload:"yes"`
	// The life of the one-time tokens that log another device in.
	LoginTokenLifetime time.Duration `key:"login_token_lifetime" reload:"yes"`
	// The life of the tokens that prove a user's identity to a third party (OpenID).
	OpenIDTokenLifetime time.Duration `key:"openid_token_lifetime" reload:"yes"`
	// How long a user may take for the steps of an interactive authentication.
	AuthLifetime time.Duration `key:"auth_lifetime"`
}

// RateLimits bounds how often one client may call.
type RateLimits struct {
	// false switches all limits off.
	Enabled bool `key:"enabled" reload:"yes"`
	// User ids that no limit applies to, for instance bots.
	ExemptUsers []string `key:"exempt_users" reload:"yes"`
	// Attempts to log in, per address.
	Login RateLimit `key:"login"`
	// Registrations and requests that send mail, per address.
	Register RateLimit `key:"register"`
	// Messages and other events, per user.
	Message RateLimit `key:"message"`
	// Joining, knocking and making rooms, per user.
	Join RateLimit `key:"join"`
	// Invitations, per user.
	Invite RateLimit `key:"invite"`
	// Reading that costs something, per user.
	Read RateLimit `key:"read"`
	// Changes of one's own data, per user.
	Write RateLimit `key:"write"`
	// Uploads, downloads and previews, per user or address.
	Media RateLimit `key:"media"`
	// Requests of other servers, per server, or per address where they need not say who they are.
	Federation RateLimit `key:"federation"`
	// Letters that confirm an e-mail address, per network that asks for them.
	Email RateLimit `key:"email"`
	// Letters that confirm an e-mail address, per address that gets them and what they are for: registering, resetting a password or adding.
	EmailAddress RateLimit `key:"email_address"`
}

// RateLimit is a token bucket.
type RateLimit struct {
	// Calls per second in the long run.
	PerSecond float64 `key:"per_second" reload:"yes"`
	// Calls that may come at once.
	Burst int `key:"burst" reload:"yes"`
}

// Rooms configures rooms made here.
type Rooms struct {
	// The version of rooms whose creator does not ask for one, 1 to 12.
	DefaultVersion string `key:"default_version" reload:"yes"`
	// How long users may have the sending of an event delayed, as clients in a call do for the case that they are cut off.
	MaxDelay time.Duration `key:"max_delay" reload:"yes"`
	// How many such events a user may have scheduled. 0: none.
	MaxDelayedEvents int `key:"max_delayed_events" reload:"yes"`
}

// ServerNotices configures who tells users what the administrators have to say, and where.
type ServerNotices struct {
	// The part before the colon of the user id that says it. Nobody else can have it. Empty: there are no server notices.
	Localpart string `key:"localpart" reload:"yes"`
	// The display name of that user.
	DisplayName string `key:"display_name" reload:"yes"`
	// The avatar of that user, an mxc:// URI.
	AvatarURL string `key:"avatar_url" reload:"yes"`
	// The name of the rooms that are made for it.
	RoomName string `key:"room_name" reload:"yes"`
	// The avatar of these rooms, an mxc:// URI.
	RoomAvatarURL string `key:"room_avatar_url" reload:"yes"`
}

// Push configures notifications.
type Push struct {
	// Whether users who have not changed their push rules are also notified of messages that contain their name or @room without saying
	// whom they mention (m.mentions). Matrix dropped these rules in v1.17, but bots, bridges and older clients still rely on them.
	LegacyMentions bool `key:"legacy_mentions"`
}

// Presence configures who is shown as being online.
type Presence struct {
	// Whether users are shown as online to those who share a room with them while their clients are connected.
	Enabled bool `key:"enabled"`
	// Whether other servers are told too, and what they say of their users is shown. In large rooms that is much traffic for little use.
	Federated bool `key:"federated"`
}

// TURN describes the relay clients are told of.
type TURN struct {
	// The relay's addresses, for instance turn:turn.example.org?transport=udp. Empty: none.
	URIs []string `key:"uris" reload:"yes"`
	// The secret shared with the relay (coturn: static-auth-secret), from which credentials for each user are made.
	SharedSecret string `key:"shared_secret" reload:"yes" secret:"yes"`
	// A fixed user name for relays without a shared secret.
	Username string `key:"username" reload:"yes"`
	// The password that belongs to the user name.
	Password string `key:"password" reload:"yes" secret:"yes"`
	// The life of credentials.
	TTL time.Duration `key:"ttl" reload:"yes"`
	// Whether guests get credentials.
	Guests bool `key:"guests" reload:"yes"`
}

// RTC describes what calls of several people go through.
type RTC struct {
	// The URLs of LiveKit authorisation services, for instance https://livekit.example.org/jwt, the preferred one first. Empty: none.
	LiveKitServices []string `key:"livekit_services" reload:"yes"`
}

func defaultRegistration() Registration {
	return Registration{Mode: RegistrationToken, UsernameMinLength: 1}
}

func defaultPasswords() Passwords {
	// One of OWASP's settings for Argon2id that are equal in defence: 7 MiB, five passes, one lane. It is the one with the least memory.
	return Passwords{Enabled: true, MinLength: 8, HashMemory: 7 * MiB, HashIterations: 5, HashWorkers: 2}
}

func defaultSessions() Sessions {
	return Sessions{
		AccessTokenLifetime: time.Hour,
		LoginTokenLifetime:  2 * time.Minute,
		OpenIDTokenLifetime: time.Hour,
		AuthLifetime:        15 * time.Minute,
	}
}

func defaultRateLimits() RateLimits {
	return RateLimits{
		Enabled:      true,
		Login:        RateLimit{PerSecond: 0.2, Burst: 10},
		Register:     RateLimit{PerSecond: 0.1, Burst: 5},
		Message:      RateLimit{PerSecond: 5, Burst: 50},
		Join:         RateLimit{PerSecond: 0.5, Burst: 20},
		Invite:       RateLimit{PerSecond: 0.5, Burst: 20},
		Read:         RateLimit{PerSecond: 50, Burst: 300},
		Write:        RateLimit{PerSecond: 10, Burst: 100},
		Media:        RateLimit{PerSecond: 20, Burst: 300},
		Federation:   RateLimit{PerSecond: 100, Burst: 1000},
		Email:        RateLimit{PerSecond: 0.0055, Burst: 20},
		EmailAddress: RateLimit{PerSecond: 0.0014, Burst: 5},
	}
}
