package pusher

import (
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/hearthd/hearth/internal/mail"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// The limits of the specification, and ours for what it leaves open.
//
// Spec: client-server-api#post_matrixclientv3pushersset
const (
	maxPushkey = 512 // bytes
	maxAppID   = 64  // characters
	maxText    = 512 // bytes, of names, languages and tags
	maxData    = 16 << 10
	maxURL     = 2 << 10
)

// Wish is what a client wants to become of a pusher.
type Wish struct {
	AppID, Pushkey string
	Delete         bool   // the rest is empty then
	Kind           string // of storage.Pusher
	Append         bool   // pushers of other users with the same app id and pushkey stay
	AppName        string
	DeviceName     string
	ProfileTag     string
	Lang           string
	Data           json.RawMessage // an object
	url            string          // of Data
}

// fields is a JSON object whose members are found by their exact names. Reading from it never fails: the first problem is kept.
type fields struct {
	members map[string]json.RawMessage
	problem error
}

func (f *fields) fail(code merr.Code, format string, args ...any) {
	if f.problem == nil {
		f.problem = merr.Newf(code, format, args...)
	}
}

// raw finds a member. null is as good as none.
func (f *fields) raw(name string, needed bool) (json.RawMessage, bool) {
	raw, ok := f.members[name]
	if ok && string(raw) != "null" {
		return raw, true
	}
	if needed {
		f.fail(merr.MissingParam, "%s is missing", name)
	}
	return nil, false
}

// text reads a string of at most so many bytes.
func (f *fields) text(name string, needed bool, most int) (out string) {
	raw, ok := f.raw(name, needed)
	if !ok {
		return ""
	}
	switch err := json.Unmarshal(raw, &out); {
	case err != nil:
		f.fail(merr.BadJSON, "%s must be a string", name)
	case len(out) > most:
		f.fail(merr.InvalidParam, "%s must not be longer than %d bytes", name, most)
	case strings.ContainsRune(out, 0):
		f.fail(merr.InvalidParam, "%s must not contain NUL", name)
	}
	return out
}

// ParseWish reads the body of POST /pushers/set. Errors: M_BAD_JSON for values of a wrong type, M_MISSING_PARAM and M_INVALID_PARAM.
//
// Spec: client-server-api#post_matrixclientv3pushersset
func ParseWish(body json.RawMessage) (Wish, error) {
	f := &fields{}
	if err := json.Unmarshal(body, &f.members); err != nil || f.members == nil {
		return Wish{}, merr.New(merr.BadJSON, "The body must be an object")
	}
	w := Wish{AppID: f.text("app_id", true, maxAppID*utf8.UTFMax), Pushkey: f.text("pushkey", true, maxPushkey)}
	if utf8.RuneCountInString(w.AppID) > maxAppID {
		f.fail(merr.InvalidParam, "app_id must not be longer than %d characters", maxAppID)
	}
	if f.problem == nil && (w.AppID == "" || w.Pushkey == "") {
		f.fail(merr.InvalidParam, "app_id and pushkey must not be empty")
	}
	switch kind, ok := f.members["kind"]; {
	case !ok:
		f.fail(merr.MissingParam, "kind is missing")
	case string(kind) == "null":
		w.Delete = true
		if address, err := mail.ParseAddress(w.Pushkey); err == nil && w.AppID == appEmail {
			w.Pushkey = address
		}
		return w, f.problem
	}
	switch kind := f.text("kind", true, maxText); kind {
	case storage.PusherHTTP:
		w.Kind = kind
	case storage.PusherEmail:
		w.Kind = kind
		w.address(f)
	default:
		f.fail(merr.InvalidParam, "There is no such kind of pusher")
	}
	w.AppName, w.DeviceName = f.text("app_display_name", true, maxText), f.text("device_display_name", true, maxText)
	w.Lang, w.ProfileTag = f.text("lang", true, maxText), f.text("profile_tag", false, maxText)
	if raw, ok := f.raw("append", false); ok && json.Unmarshal(raw, &w.Append) != nil {
		f.fail(merr.BadJSON, "append must be true or false")
	}
	w.data(f)
	if f.problem != nil {
		return Wish{}, f.problem
	}
	return w, nil
}

// appEmail is the app id of every pusher by e-mail.
const appEmail = "m.email"

// address makes the pushkey of a pusher by e-mail the address that it is.
//
// Spec: client-server-api#post_matrixclientv3pushersset
func (w *Wish) address(f *fields) {
	if w.AppID != appEmail {
		f.fail(merr.InvalidParam, "The app_id of a pusher by e-mail must be %s", appEmail)
	}
	address, err := mail.ParseAddress(w.Pushkey)
	if err != nil {
		f.fail(merr.InvalidParam, "pushkey is not an e-mail address")
	}
	w.Pushkey = address
}

// data reads the member data, which is kept as the client wrote it.
func (w *Wish) data(f *fields) {
	raw, ok := f.raw("data", true)
	if !ok {
		return
	}
	inner := &fields{}
	switch err := json.Unmarshal(raw, &inner.members); {
	case err != nil:
		f.fail(merr.BadJSON, "data must be an object")
		return
	case len(raw) > maxData:
		f.fail(merr.InvalidParam, "data must not be longer than %d bytes", maxData)
		return
	}
	w.Data = raw
	w.url = inner.text("url", w.Kind == storage.PusherHTTP, maxURL)
	inner.text("format", false, maxText)
	if inner.problem != nil && f.problem == nil {
		f.problem = inner.problem
	}
}
