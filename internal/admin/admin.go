// Package admin is how the command line reaches a running server: a few calls on accounts, media, pushers, notices and reports over a Unix socket that only the user who
// runs the server can open. Whoever can open it may do everything; it asks for no token, so it must never be reachable otherwise.
package admin

import (
	"context"
	"time"
)

// Server is what the command line asks for: of the server itself, or of a Client that asks the running one.
type Server interface {
	Accounts
	Media
	Pushers
	Notices
	Reports
}

// Reports is what users have reported.
type Reports interface {
	// ListReports lists all reports, the newest first.
	ListReports(ctx context.Context) ([]Report, error)
	DeleteReport(ctx context.Context, number int64) error
}

// Report is what a user has reported.
type Report struct {
	Number   int64     `json:"number"`
	At       time.Time `json:"at"`
	Reporter string    `json:"reporter"`
	About    string    `json:"about"`            // a room, an event or a user
	Sender   string    `json:"sender,omitempty"` // of the event
	Reason   string    `json:"reason"`
}

// Notices is what can be said to users, who are named as Accounts has it.
type Notices interface {
	// SendNotice sends a text to a user and returns the user's id.
	SendNotice(ctx context.Context, user, text string) (userID string, err error)
}

// Pushers is what can be done with the pushers of users, who are named as Accounts has it.
type Pushers interface {
	// TestPushers sends a notification to all pushers of a user.
	TestPushers(ctx context.Context, user string) ([]PushTrial, error)
}

// PushTrial is what has become of a notification that was sent to try a pusher.
type PushTrial struct {
	App     string        `json:"app"`
	Device  string        `json:"device"`
	Gateway string        `json:"gateway"`
	Problem string        `json:"problem,omitempty"` // empty: the gateway has taken it
	Took    time.Duration `json:"took"`
}

// Media is what can be done with single media, named by their mxc:// URI.
type Media interface {
	ShowMedia(ctx context.Context, mxc string) (File, error)
	QuarantineMedia(ctx context.Context, mxc string, hidden bool) error
	// SetMediaAccess overrules the freeze for one media; access is public, restricted or freeze (not to overrule it).
	SetMediaAccess(ctx context.Context, mxc, access string) error
}

// File is what is known of media.
type File struct {
	URI         string    `json:"uri"`
	Owner       string    `json:"owner,omitempty"`
	Type        string    `json:"type"`
	Size        int64     `json:"size"`
	AvailableAt time.Time `json:"available_at"` // when its bytes came
	Access      string    `json:"access"`
	Quarantined bool      `json:"quarantined,omitempty"`
	Frozen      bool      `json:"frozen,omitempty"` // nobody sees it without logging in
}

// Accounts is what can be done with accounts. Users are named by a full user id
// or by the part before the colon.
type Accounts interface {
	CreateUser(ctx context.Context, user, password string, admin bool) (userID string, err error)
	ResetPassword(ctx context.Context, user, password string) (userID string, err error)
	Deactivate(ctx context.Context, user string, erase bool) (userID string, err error)
	ListUsers(ctx context.Context) ([]User, error)
}

// User is an account in a list.
type User struct {
	ID          string    `json:"id"`
	CreatedAt   time.Time `json:"created_at"`
	Admin       bool      `json:"admin,omitempty"`
	Guest       bool      `json:"guest,omitempty"`
	Deactivated bool      `json:"deactivated,omitempty"`
	Locked      bool      `json:"locked,omitempty"`
	Suspended   bool      `json:"suspended,omitempty"`
}

// Marks names what is special about the account.
func (u User) Marks() []string {
	var out []string
	for _, m := range []struct {
		set  bool
		name string
	}{{u.Admin, "admin"}, {u.Guest, "guest"}, {u.Deactivated, "deactivated"}, {u.Locked, "locked"}, {u.Suspended, "suspended"}} {
		if m.set {
			out = append(out, m.name)
		}
	}
	return out
}
