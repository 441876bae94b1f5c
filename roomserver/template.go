package roomserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/hearthd/hearth/internal/fedtypes"
	"github.com/hearthd/hearth/internal/id"
)

// maxEdges bounds the parents and the auth events of an event that is made from another server's template.
const maxEdges = 20

// errTemplate says that another server's template is not one of what was asked for.
var errTemplate = errors.New("the template is malformed")

// proposal is what another server's template says about where in the graph of a room an event of ours belongs. All else in our event we write
// ourselves: what others propose is never signed as it is.
type proposal struct {
	version    gomatrixserverlib.IRoomVersion
	prev, auth []id.EventID
	depth      int64
	authoriser id.UserID // who vouches for us where the join rule is restricted; empty for nobody
}

// readTemplate checks a template that the server from gave for a membership of a user of ours. known is the room's version where the template
// may leave it out, "" where it must be named.
//
// Spec: server-server-api#get_matrixfederationv1make_joinroomiduserid and its siblings
func (s *Server) readTemplate(t fedtypes.Template, known gomatrixserverlib.RoomVersion, from id.ServerName, r MemberRequest, membership string) (proposal, error) {
	var p proposal
	bad := func(what string) (proposal, error) { return proposal{}, fmt.Errorf("%w: its %s", errTemplate, what) }
	name := t.Version
	if name == "" {
		name = known
	}
	if name == "" {
		name = gomatrixserverlib.RoomVersionV1 // what a server does not say that is older than the field
	}
	version, ok := s.versions[name]
	if !ok {
		return bad("room version")
	}
	p.version = version
	if !gjson.ValidBytes(t.Event) {
		return bad("form")
	}
	event := gjson.ParseBytes(t.Event)
	content := event.Get("content")
	switch {
	case !event.IsObject() || !content.IsObject():
		return bad("form")
	case text(event.Get("type")) != spec.MRoomMember:
		return bad("type")
	case text(event.Get("room_id")) != string(r.Room):
		return bad("room_id")
	case text(event.Get("sender")) != string(r.Sender):
		return bad("sender")
	case text(event.Get("state_key")) != string(r.Sender):
		return bad("state_key")
	case text(content.Get("membership")) != membership:
		return bad("membership")
	}
	if p.prev, ok = edges(event.Get("prev_events"), version); !ok || len(p.prev) == 0 {
		return bad("prev_events")
	}
	if p.auth, ok = edges(event.Get("auth_events"), version); !ok {
		return bad("auth_events")
	}
	if create, domainless := r.Room.CreateEvent(); domainless && version.DomainlessRoomIDs() && slices.Contains(p.auth, create) {
		return bad("auth_events: a room id stands for its create event")
	}
	if version.DomainlessRoomIDs() != (r.Room.Server() == "") {
		return bad("room version, which is not that of the room id")
	}
	// A depth says little; what is none becomes the smallest or the greatest.
	p.depth = 1
	if d := event.Get("depth"); d.Type == gjson.Number {
		p.depth = min(max(d.Int(), 1), maxDepth)
	}
	if a := content.Get("join_authorised_via_users_server"); a.Exists() && membership == spec.Join {
		user, err := id.ParseUserID(text(a))
		// Who lets us in has to sign, so it is a user of the server that we talk to.
		if err != nil || user.Server() != from {
			return bad("join_authorised_via_users_server")
		}
		p.authoriser = user
	}
	return p, nil
}

// maxDepth is the greatest integer of canonical JSON.
const maxDepth = 1<<53 - 1

// edges reads prev_events or auth_events: a list of ids or, in room versions 1 and 2, of pairs of an id and hashes.
func edges(list gjson.Result, version gomatrixserverlib.IRoomVersion) (out []id.EventID, ok bool) {
	if !list.IsArray() {
		return nil, false
	}
	ok = true
	list.ForEach(func(_, v gjson.Result) bool {
		if version.EventFormat() == gomatrixserverlib.EventFormatV1 {
			v = v.Get("0")
		}
		event, err := id.ParseEventID(text(v))
		ok = err == nil && len(out) < maxEdges && !slices.Contains(out, event)
		out = append(out, event)
		return ok
	})
	return out, ok
}

// template is the event that draft would be at the end of the room, without what only its sender's server can add. It is an error of the
// auth rules if the room would not let it in.
func (a *authState) template(s *Server, d draft) (json.RawMessage, error) {
	p, err := a.place(d)
	if err != nil {
		return nil, err
	}
	p.ts = s.clock.Now().UnixMilli()
	event, raw, err := s.build(d, p)
	if err != nil {
		return nil, err
	}
	pdu, err := p.version.NewEventFromTrustedJSONWithEventID(string(event), raw, false)
	if err != nil {
		return nil, fmt.Errorf("read a template: %w", err)
	}
	if err := a.allowed(pdu); err != nil {
		return nil, err
	}
	// Our signature under an event of somebody else's user must not leave the house.
	for _, field := range []string{"signatures", "hashes", "event_id"} {
		if raw, err = sjson.DeleteBytes(raw, field); err != nil {
			return nil, fmt.Errorf("write a template: %w", err)
		}
	}
	return sjson.SetBytes(raw, "origin", s.cfg.Name)
}

// place is where the draft goes at the end of the room, but for the time.
func (a *authState) place(d draft) (place, error) {
	p := place{version: a.version, room: a.room.ID, depth: 1}
	for _, x := range a.room.Extremities {
		p.prev = append(p.prev, x.ID)
		p.depth = min(max(p.depth, x.Depth+1), maxDepth)
	}
	var err error
	p.auth, err = a.authEvents(d)
	return p, err
}
