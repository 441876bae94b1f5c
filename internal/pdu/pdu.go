// Package pdu reads events that come from other servers: their canonical form, content hash, id, and what their signatures are over. It refuses
// to know keys, rooms and whether an event is allowed.
package pdu

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/canonjson"
	"github.com/hearthd/hearth/internal/id"
)

// MaxSize is the limit of an event in its federation form, and maxField that of its type and state key, in bytes.
//
// Spec: client-server-api#size-limits
const (
	MaxSize  = 65536
	maxField = 255
	maxEdges = 20 // prev_events; the limit of auth_events is half of it in the specification, but rooms in the wild have more
)

var (
	errTooLarge = errors.New("the event is too large")
	errShape    = errors.New("the event is malformed")
)

// Event is an event of another server in the form in which it is kept.
type Event struct {
	gomatrixserverlib.PDU
	ID       id.EventID
	Raw      []byte // canonical; without unsigned and what else is not part of an event
	Signed   []byte // what the signatures are over: the redacted event without signatures
	Tampered bool   // the content hash was wrong: Raw is what a redaction leaves
}

// transient is the members that servers add to events for one another. event_id is one as well since room version 3.
var transient = []string{"age_ts", "destinations", "outlier", "unsigned"}

// Parse reads an event of a room version. An event whose content does not match its hash is redacted. Signatures are not checked.
//
// Spec: server-server-api#checks-performed-on-receipt-of-a-pdu
func Parse(version gomatrixserverlib.IRoomVersion, raw []byte) (*Event, error) {
	if len(raw) > 4*MaxSize { // white space and unsigned do not count
		return nil, errTooLarge
	}
	canonical := canonjson.Canonical
	if version.CheckCanonicalJSON([]byte(`[9007199254740992]`)) != nil {
		canonical = canonjson.Strict
	}
	b, err := canonical(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errShape, err)
	}
	drop := transient
	v1 := version.EventFormat() == gomatrixserverlib.EventFormatV1
	if !v1 {
		drop = append([]string{"event_id"}, transient...)
	}
	b = without(b, drop...)
	if len(b) > MaxSize {
		return nil, errTooLarge
	}
	if err := checkShape(b); err != nil {
		return nil, err
	}
	e := &Event{Raw: b}
	if !hashHolds(b) {
		e.Tampered = true
		if e.Raw, err = Redact(version, b); err != nil {
			return nil, err
		}
	}
	redacted := e.Raw
	if !e.Tampered {
		if redacted, err = Redact(version, b); err != nil {
			return nil, err
		}
	}
	e.Signed = without(redacted, "signatures")
	if v1 {
		e.ID = id.EventID(gjson.GetBytes(e.Raw, "event_id").Str)
		if err := checkOwnID(e.ID); err != nil {
			return nil, err
		}
	} else {
		e.ID = reference(version, e.Signed)
	}
	if e.PDU, err = version.NewEventFromTrustedJSONWithEventID(string(e.ID), e.Raw, e.Tampered); err != nil {
		return nil, fmt.Errorf("%w: %w", errShape, err)
	}
	if err := gomatrixserverlib.CheckFields(e.PDU); err != nil {
		var invalid gomatrixserverlib.EventValidationError
		if !errors.As(err, &invalid) || !invalid.Persistable {
			return nil, fmt.Errorf("%w: %w", errShape, err)
		}
	}
	for _, other := range append(e.PrevEventIDs(), e.AuthEventIDs()...) {
		if _, err := id.ParseEventID(other); err != nil {
			return nil, fmt.Errorf("%w: %w", errShape, err)
		}
	}
	return e, nil
}

// checkOwnID refuses an event id of room versions 1 and 2 that names no server. That server has to sign the event, so that nobody can give an
// event the id of somebody else's; and without one, the id might be the hash of an event of a later version.
func checkOwnID(event id.EventID) error {
	_, err := id.ParseEventID(string(event))
	if err == nil {
		_, server, _ := strings.Cut(string(event), ":")
		_, err = id.ParseServerName(server)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errShape, err)
	}
	return nil
}

// checkShape refuses what the library would read otherwise than it is written: it takes member names in any case, and strings for numbers.
func checkShape(b []byte) error {
	if len(b) == 0 || b[0] != '{' {
		return fmt.Errorf("%w: it is not an object", errShape)
	}
	var typ, sender, content, depth, ts, prev, auth bool
	var err error
	gjson.ParseBytes(b).ForEach(func(k, v gjson.Result) bool {
		ok := true
		switch k.Str {
		case "type":
			typ, ok = true, v.Type == gjson.String && !strings.Contains(v.Str, "\x00") // which not all databases can store
		case "sender":
			_, perr := id.ParseUserID(v.Str)
			sender, ok = true, v.Type == gjson.String && perr == nil
		case "state_key":
			ok = v.Type == gjson.String && !strings.Contains(v.Str, "\x00")
		case "room_id", "redacts", "event_id":
			ok = v.Type == gjson.String
		case "content":
			content, ok = true, v.IsObject()
		case "depth":
			depth, ok = true, v.Type == gjson.Number
		case "origin_server_ts":
			ts, ok = true, v.Type == gjson.Number
		case "prev_events":
			prev, ok = true, v.IsArray() && len(v.Array()) <= maxEdges
		case "auth_events":
			auth, ok = true, v.IsArray() && len(v.Array()) <= maxEdges
		default:
			// The same in another case would be taken for it, be it one of the letters that fold to s and k from two bytes or three.
			for _, name := range []string{"type", "sender", "state_key", "room_id", "redacts", "event_id", "content", "depth", "origin_server_ts",
				"prev_events", "auth_events", "hashes", "signatures", "unsigned"} {
				if k.Str != name && bytes.EqualFold([]byte(k.Str), []byte(name)) {
					ok = false
				}
			}
		}
		if !ok {
			err = fmt.Errorf("%w: its %s", errShape, k.Str)
		}
		return ok
	})
	if err == nil && !(typ && sender && content && depth && ts && prev && auth) {
		err = fmt.Errorf("%w: members are missing", errShape)
	}
	return err
}

// without is a canonical object without some of its members.
func without(object []byte, names ...string) []byte {
	out := make([]byte, 0, len(object))
	out = append(out, '{')
	gjson.ParseBytes(object).ForEach(func(k, v gjson.Result) bool {
		for _, n := range names {
			if k.Str == n {
				return true
			}
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(out, k.Raw...)
		out = append(out, ':')
		out = append(out, v.Raw...)
		return true
	})
	return append(out, '}')
}

// hashHolds reports whether the content hash of a canonical event is right.
//
// Spec: server-server-api#calculating-the-content-hash-for-an-event
func hashHolds(b []byte) bool {
	var want spec.Base64Bytes
	if want.Decode(gjson.GetBytes(b, "hashes.sha256").Str) != nil {
		return false
	}
	got := sha256.Sum256(without(b, "hashes", "signatures", "unsigned"))
	return bytes.Equal(got[:], want)
}

// reference is the id of an event since room version 3.
//
// Spec: server-server-api#calculating-the-reference-hash-for-an-event
func reference(version gomatrixserverlib.IRoomVersion, signed []byte) id.EventID {
	sum := sha256.Sum256(signed)
	encoding := base64.RawURLEncoding
	if version.EventIDFormat() == gomatrixserverlib.EventIDFormatV2 {
		encoding = base64.RawStdEncoding
	}
	return id.EventID("$" + encoding.EncodeToString(sum[:]))
}

// Signers is the servers that must have signed an event: the sender's, but for invites that stand for a third-party invite; in room versions 1
// and 2 also the one that its id names; and for restricted joins the one of the user who vouches for the join.
//
// Spec: server-server-api#validating-hashes-and-signatures-on-received-events
func (e *Event) Signers(version gomatrixserverlib.IRoomVersion) []id.ServerName {
	var out []id.ServerName
	add := func(s id.ServerName) {
		for _, known := range out {
			if known == s {
				return
			}
		}
		out = append(out, s)
	}
	content := gjson.ParseBytes(e.Content())
	membership := ""
	if e.Type() == spec.MRoomMember {
		membership = content.Get("membership").Str
	}
	if membership != spec.Invite || !content.Get("third_party_invite").Exists() {
		add(id.UserID(e.SenderID()).Server())
	}
	if version.EventFormat() == gomatrixserverlib.EventFormatV1 {
		if _, server, ok := strings.Cut(string(e.ID), ":"); ok {
			add(id.ServerName(server))
		}
	}
	if by := content.Get("join_authorised_via_users_server"); membership == spec.Join && by.Type == gjson.String && version.CheckRestrictedJoinsAllowed() == nil {
		add(id.UserID(by.Str).Server())
	}
	return out
}

// State is the piece of state that the event sets; false for message events.
func (e *Event) State() (typ, key string, ok bool) {
	if e.StateKey() == nil {
		return "", "", false
	}
	return e.Type(), *e.StateKey(), true
}

// Prev is the parents of the event, and Auth its auth events.
func (e *Event) Prev() []id.EventID { return ids(e.PrevEventIDs()) }

// Auth is the auth events of the event; since room version 12 the create event is among them without being named.
func (e *Event) Auth() []id.EventID { return ids(e.AuthEventIDs()) }

func ids(list []string) []id.EventID {
	out := make([]id.EventID, len(list))
	for i, s := range list {
		out[i] = id.EventID(s)
	}
	return out
}
