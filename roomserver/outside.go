package roomserver

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/canonjson"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/pdu"
	"github.com/hearthd/hearth/storage"
)

// Memberships of rooms that this server is not in: invites that came from other servers, knocks, and what became of them. They are rows of
// memberships that the state of the room, if there is any here, does not have. Their events are outliers.

const (
	// maxPreview bounds the events that another server may tell of a room that it invites to, and maxPreviewSize their bytes.
	maxPreview     = 100
	maxPreviewSize = 512 << 10
	// previewTime is how long the keys of their senders may take to fetch.
	previewTime = 15 * time.Second
)

// atDoor is update for a room that may have no state here.
func (s *Server) atDoor(ctx context.Context, room id.RoomID, fn func(h *head) error) error {
	return s.recommending(ctx, func(signed []recommended) error {
		return s.store.Update(ctx, func(tx *storage.Tx) error {
			row, err := tx.Room(room)
			if isNotFound(err) {
				return errUnknownRoom
			}
			if err != nil {
				return err
			}
			h, err := s.head(tx, row)
			if err != nil {
				return err
			}
			h.signed = slices.Clone(signed)
			if err := fn(h); err != nil {
				return err
			}
			return h.finish()
		})
	})
}

// mustBeResident returns an elsewhere unless this server knows what is going on in the room.
func (h *head) mustBeResident() error {
	resident, err := h.auth.resident()
	if err == nil && !resident {
		err = &elsewhere{errUnknownRoom}
	}
	return err
}

// outside is a user's membership as told by other servers, if it is not what the state of the room says; nil otherwise.
func (h *head) outside(user id.UserID) (*storage.Membership, error) {
	m, err := h.tx.Membership(h.room().NID, user)
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	e, err := h.auth.get(storage.StateKey{Type: spec.MRoomMember, Key: string(user)})
	if err != nil || e != nil && e.nid == m.Event {
		return nil, err
	}
	return &m, nil
}

// unlessOutside makes an error one that others may know better, if a user has been invited by somebody and the room's state here has not heard
// of it.
func (h *head) unlessOutside(user id.UserID, why error) error {
	m, err := h.outside(user)
	if err != nil {
		return err
	}
	if m != nil && m.Membership == spec.Invite {
		return &elsewhere{why}
	}
	return why
}

// knownElsewhere makes the error that a room is not here one that others may know better.
func knownElsewhere(err error) error {
	var away *elsewhere
	if !errors.As(err, &away) && merr.HasCode(err, merr.NotFound) {
		return &elsewhere{err}
	}
	return err
}

// keepOutside notes a membership of a user of ours in a room that this server is not in: it stores the event as an outlier, and the membership
// with the stripped state that goes with it, a JSON array or nothing.
func (s *Server) keepOutside(tx *storage.Tx, version gomatrixserverlib.IRoomVersion, e *pdu.Event, stripped string) error {
	room := id.RoomID(e.RoomID().String())
	row, err := s.outsideRoom(tx, room, version)
	if err != nil {
		return err
	}
	user := id.UserID(*e.StateKey())
	was, err := tx.Membership(row.NID, user)
	if err != nil && !isNotFound(err) {
		return err
	}
	if was.Membership == spec.Join { // by another way, meanwhile
		return nil
	}
	stored, err := s.keepOutlier(tx, row, e, was.Event)
	if err != nil {
		return err
	}
	pos, err := tx.NextPos()
	if err != nil {
		return err
	}
	content := gjson.ParseBytes(stored.Content())
	m := storage.Membership{
		User: user, Room: row.NID, RoomID: room, Membership: text(content.Get("membership")), Event: stored.NID, Pos: pos, Sender: stored.Sender,
		Name: text(content.Get("displayname")), AvatarURL: text(content.Get("avatar_url")), Stripped: stripped,
	}
	if m.Membership == spec.Invite {
		if err := s.notifyInvited(tx, row, stored, m); err != nil {
			return err
		}
	}
	if err := tx.SetMembership(m, true); err != nil {
		return err
	}
	tx.OnCommit(func() { s.hub.Ring(pos, hub.User(user)) })
	return nil
}

// outsideRoom finds the row of a room, or makes one for a room without state.
func (s *Server) outsideRoom(tx *storage.Tx, room id.RoomID, version gomatrixserverlib.IRoomVersion) (*storage.Room, error) {
	row, err := tx.Room(room)
	if isNotFound(err) {
		row = &storage.Room{ID: room, Version: version.Version(), Extremities: []storage.Extremity{}}
		return row, tx.AddRoom(row)
	}
	if err != nil || row.Version == version.Version() {
		return row, err
	}
	if row.State != 0 {
		if known, ok := s.versions[row.Version]; !ok || !sameVersion(known, version) {
			return nil, merr.New(merr.InvalidParam, "The room has another version")
		}
		return row, nil
	}
	// What was said before may have been a lie; who says it last is who one will join through.
	row.Version = version.Version()
	return row, tx.SetRoomVersion(row.NID, row.Version)
}

// sameVersion reports whether a room of one version may have been said to be of the other: old requests do not tell version 1 from 2.
func sameVersion(a, b gomatrixserverlib.IRoomVersion) bool {
	return a.Version() == b.Version() || a.EventFormat() == gomatrixserverlib.EventFormatV1 && b.EventFormat() == gomatrixserverlib.EventFormatV1
}

// keepOutlier stores an event that has no place in the room here, and takes that of the event replaces, unless it is there already.
func (s *Server) keepOutlier(tx *storage.Tx, room *storage.Room, e *pdu.Event, replaces int64) (*storage.Event, error) {
	stored, err := tx.Event(e.ID)
	if err == nil && stored.Room != room.NID {
		return nil, merr.New(merr.InvalidParam, "The event is one of another room")
	}
	if err == nil || !isNotFound(err) {
		return stored, err
	}
	stored = newEvent(room, e)
	stored.Status, stored.Replaces = storage.Outlier, replaces
	if stored.NID, err = tx.NextBackfillPos(); err != nil {
		return nil, err
	}
	return stored, tx.AddEvent(stored)
}

// previews turns what another server tells of a room that it invites to into stripped state, a JSON array with the event e last. From room
// version 12 on these are whole events of the room with valid signatures; strict refuses what is not, and a list without the create event, which
// is otherwise left out.
//
// Spec: server-server-api#put_matrixfederationv2inviteroomideventid, server-server-api#put_matrixfederationv1send_knockroomideventid
func (s *Server) previews(ctx context.Context, version gomatrixserverlib.IRoomVersion, e *pdu.Event, state []json.RawMessage, strict bool) (string, error) {
	whole := version.DomainlessRoomIDs()
	strict = strict && whole
	bad := func(what string) (string, error) {
		return "", merr.Newf(merr.InvalidParam, "The state of the room %s", what)
	}
	if len(state) > maxPreview && strict {
		return bad("has too many events")
	}
	room := id.RoomID(e.RoomID().String())
	seen := map[storage.StateKey]bool{{Type: spec.MRoomMember, Key: *e.StateKey()}: true} // for which e itself is there
	var shown []json.RawMessage
	var events []*pdu.Event
	size := 0
	for _, raw := range state[:min(len(state), maxPreview)] {
		raw, key, ok := previewKey(raw)
		var full *pdu.Event
		if ok && whole {
			full, ok = previewEvent(version, room, raw)
		}
		size += len(raw)
		switch {
		case !ok && strict:
			return bad("has an event that is none of the room")
		case !ok || seen[key] || size > maxPreviewSize:
			continue
		}
		seen[key] = true
		shown, events = append(shown, raw), append(events, full)
	}
	if whole {
		shown = s.verifiedPreviews(ctx, version, events)
	}
	out, created := []byte{'['}, false
	for _, raw := range shown {
		created = created || gjson.GetBytes(raw, "type").Str == spec.MRoomCreate
		out = append(appendStripped(out, raw), ',')
	}
	if !created && strict {
		return bad("lacks its create event, or that has no valid signature")
	}
	return string(append(appendStripped(out, e.Raw), ']')), nil
}

// previewKey reads what an event in stripped form is about, and gives its canonical form, which says nothing twice. It is false for what clients
// could not read as such an event.
func previewKey(raw json.RawMessage) (json.RawMessage, storage.StateKey, bool) {
	if len(raw) > maxEvent || canonjson.Deeper(raw, maxNesting) {
		return nil, storage.StateKey{}, false
	}
	raw, err := canonjson.Canonical(raw)
	if err != nil {
		return nil, storage.StateKey{}, false
	}
	e := gjson.GetManyBytes(raw, "type", "state_key", "sender", "content")
	_, err = id.ParseUserID(text(e[2]))
	ok := err == nil && e[0].Type == gjson.String && e[1].Type == gjson.String && e[3].IsObject() && len(e[0].Str) <= maxField && len(e[1].Str) <= maxField
	return raw, storage.StateKey{Type: e[0].Str, Key: e[1].Str}, ok
}

// maxNesting bounds how deep the JSON in stripped state goes.
const maxNesting = 100

// previewEvent reads a whole event of a room whose id is made from its create event.
func previewEvent(version gomatrixserverlib.IRoomVersion, room id.RoomID, raw json.RawMessage) (*pdu.Event, bool) {
	e, err := pdu.Parse(version, raw)
	if err != nil || e.Tampered && e.Type() == spec.MRoomCreate {
		return nil, false
	}
	if create, _ := room.CreateEvent(); e.Type() == spec.MRoomCreate {
		return e, e.ID == create
	}
	return e, text(gjson.GetBytes(e.Raw, "room_id")) == string(room)
}

// verifiedPreviews is those events that have the signature of their sender's server.
func (s *Server) verifiedPreviews(ctx context.Context, version gomatrixserverlib.IRoomVersion, events []*pdu.Event) []json.RawMessage {
	ctx, cancel := context.WithTimeout(ctx, previewTime)
	defer cancel()
	var out []json.RawMessage
	for i, err := range s.verify(ctx, version, events) {
		if err == nil {
			out = append(out, events[i].Raw)
		}
	}
	return out
}

// errNotInvited is the answer to events of rooms that this server is not in.
var errNotInvited = merr.New(merr.Forbidden, "This server is not in the room")

// outsideEvent takes what ends an invite or a knock, with signatures that hold. An invite is taken back by who has sent it; the answer to a knock
// refers to that. All else is not to be believed.
//
// Spec: server-server-api#leaving-rooms-rejecting-invites
func (s *Server) outsideEvent(tx *storage.Tx, origin id.ServerName, room *storage.Room, version gomatrixserverlib.IRoomVersion, e *pdu.Event) error {
	sender, key := id.UserID(e.SenderID()), e.StateKey()
	if e.Type() != spec.MRoomMember || key == nil || !s.local(id.UserID(*key)) || sender.Server() != origin || s.local(sender) {
		return errNotInvited
	}
	membership := memberOf(e.Content(), "membership")
	if membership != spec.Leave && membership != spec.Ban {
		return errNotInvited // an invite comes with a request of its own
	}
	m, err := tx.Membership(room.NID, id.UserID(*e.StateKey()))
	if isNotFound(err) {
		return errNotInvited
	}
	if err != nil {
		return err
	}
	// Whether others than who has invited have the power for it cannot be seen from here.
	if m.Membership != spec.Knock && (m.Membership != spec.Invite || m.Sender != sender) {
		return errNotInvited
	}
	// It must come after what it answers: the end of a ban may be on its way while the invite that follows it is here already.
	answered, err := tx.EventAt(m.Event)
	if err != nil {
		return err
	}
	if !slices.Contains(e.Auth(), answered.ID) {
		return errNotInvited
	}
	return s.keepOutside(tx, version, e, "")
}
