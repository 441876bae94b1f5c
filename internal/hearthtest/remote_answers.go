package hearthtest

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
)

// endpoint is something a Remote answers.
type endpoint struct {
	pattern string
	signed  bool
	honest  func(r *Remote, q *Request) Reply // called with the lock held
}

// endpoints are all of them, by the names that On takes.
var endpoints = map[string]endpoint{
	"well_known":    {"GET /.well-known/matrix/server", false, nothing},
	"version":       {"GET /_matrix/federation/v1/version", false, (*Remote).answerVersion},
	"keys":          {"GET /_matrix/key/v2/server", false, (*Remote).answerKeys},
	"send":          {"PUT /_matrix/federation/v1/send/{txn}", true, (*Remote).answerSend},
	"make_join":     {"GET /_matrix/federation/v1/make_join/{room}/{user}", true, template("join")},
	"send_join":     {"PUT /_matrix/federation/v2/send_join/{room}/{event}", true, (*Remote).answerSendJoin},
	"make_leave":    {"GET /_matrix/federation/v1/make_leave/{room}/{user}", true, template("leave")},
	"send_leave":    {"PUT /_matrix/federation/v2/send_leave/{room}/{event}", true, (*Remote).answerSendLeave},
	"make_knock":    {"GET /_matrix/federation/v1/make_knock/{room}/{user}", true, template("knock")},
	"send_knock":    {"PUT /_matrix/federation/v1/send_knock/{room}/{event}", true, (*Remote).answerSendKnock},
	"invite":        {"PUT /_matrix/federation/v2/invite/{room}/{event}", true, (*Remote).answerInvite},
	"event":         {"GET /_matrix/federation/v1/event/{event}", true, (*Remote).answerEvent},
	"state":         {"GET /_matrix/federation/v1/state/{room}", true, (*Remote).answerState},
	"state_ids":     {"GET /_matrix/federation/v1/state_ids/{room}", true, (*Remote).answerStateIDs},
	"event_auth":    {"GET /_matrix/federation/v1/event_auth/{room}/{event}", true, (*Remote).answerEventAuth},
	"backfill":      {"GET /_matrix/federation/v1/backfill/{room}", true, (*Remote).answerBackfill},
	"missing":       {"POST /_matrix/federation/v1/get_missing_events/{room}", true, (*Remote).answerMissing},
	"timestamp":     {"GET /_matrix/federation/v1/timestamp_to_event/{room}", true, nothing},
	"directory":     {"GET /_matrix/federation/v1/query/directory", true, (*Remote).answerDirectory},
	"profile":       {"GET /_matrix/federation/v1/query/profile", true, nothing},
	"public_rooms":  {"/_matrix/federation/v1/publicRooms", true, nothing},
	"hierarchy":     {"GET /_matrix/federation/v1/hierarchy/{room}", true, nothing},
	"devices":       {"GET /_matrix/federation/v1/user/devices/{user}", true, nothing},
	"query_keys":    {"POST /_matrix/federation/v1/user/keys/query", true, nothing},
	"claim_keys":    {"POST /_matrix/federation/v1/user/keys/claim", true, nothing},
	"userinfo":      {"GET /_matrix/federation/v1/openid/userinfo", false, nothing},
	"download":      {"GET /_matrix/federation/v1/media/download/{media}", true, nothing},
	"thumbnail":     {"GET /_matrix/federation/v1/media/thumbnail/{media}", true, nothing},
	"old_download":  {"GET /_matrix/media/v3/download/{server}/{media}", false, nothing},
	"old_thumbnail": {"GET /_matrix/media/v3/thumbnail/{server}/{media}", false, nothing},
}

// nothing is the answer of a server that has not got what was asked for.
func nothing(*Remote, *Request) Reply { return Fails(http.StatusNotFound, "M_NOT_FOUND") }

func (r *Remote) answerVersion(*Request) Reply {
	return OK(Fields{"server": Fields{"name": "hearthtest", "version": "1"}})
}

func (r *Remote) answerKeys(*Request) Reply {
	signed, err := r.signer.signObject(r.KeyDocument(time.Now().Add(24 * time.Hour)))
	if err != nil {
		return Fails(http.StatusInternalServerError, "M_UNKNOWN")
	}
	return OK(signed)
}

// KeyDocument is what /key/v2/server says, unsigned.
func (r *Remote) KeyDocument(validUntil time.Time) Fields {
	key := base64.RawStdEncoding.EncodeToString(r.signer.key.Public().(ed25519.PublicKey))
	return Fields{
		"server_name": r.Name, "valid_until_ts": validUntil.UnixMilli(), "old_verify_keys": Fields{},
		"verify_keys": Fields{r.signer.keyID: Fields{"key": key}},
	}
}

// SignObject signs JSON that is no event, as the server.
func (r *Remote) SignObject(object any) json.RawMessage {
	r.t.Helper()
	signed, err := r.signer.signObject(object)
	if err != nil {
		r.t.Fatal(err)
	}
	return signed
}

// answerSend takes the events of rooms it knows.
func (r *Remote) answerSend(q *Request) Reply {
	if n := len(q.Body.Get("pdus").Array()); n > 50 {
		r.t.Errorf("%s got a transaction of %d events", r.Name, n)
	}
	if n := len(q.Body.Get("edus").Array()); n > 100 {
		r.t.Errorf("%s got a transaction of %d EDUs", r.Name, n)
	}
	results := Fields{}
	for _, raw := range q.Body.Get("pdus").Array() {
		room := r.rooms[id.RoomID(raw.Get("room_id").Str)]
		if room == nil {
			continue
		}
		p, err := room.take(json.RawMessage(raw.Raw))
		if err != nil {
			r.t.Errorf("%s got a bad event from %s: %v", r.Name, q.Origin, err)
			continue
		}
		results[string(p.ID)] = Fields{}
		room.add(p)
	}
	return OK(Fields{"pdus": results})
}

// take reads an event that somebody has sent, and checks its signature.
func (m *Room) take(raw json.RawMessage) (*PDU, error) {
	text, err := without(raw)
	if err != nil {
		return nil, err
	}
	p, err := readPDU(m.version, text)
	if err != nil {
		return nil, err
	}
	return p, p.check(m.version, m.remote.net.key)
}

// template proposes a membership event.
func template(membership string) func(*Remote, *Request) Reply {
	return func(r *Remote, q *Request) Reply {
		room := r.rooms[id.RoomID(q.Var("room"))]
		if room == nil {
			return nothing(r, q)
		}
		user := q.Var("user")
		return OK(Fields{"room_version": room.Version, "event": room.draft(Draft{
			Type: "m.room.member", Key: &user, Sender: id.UserID(user), Content: Fields{"membership": membership},
		})})
	}
}

// membership takes a finished membership event.
func (r *Remote) membership(q *Request) (*Room, *PDU, Reply) {
	room := r.rooms[id.RoomID(q.Var("room"))]
	if room == nil {
		return nil, nil, nothing(r, q)
	}
	p, err := room.take(q.Raw)
	if err != nil {
		r.t.Errorf("%s got a bad event from %s: %v", r.Name, q.Origin, err)
		return nil, nil, Fails(http.StatusForbidden, "M_FORBIDDEN")
	}
	if string(p.ID) != q.Var("event") {
		r.t.Errorf("%s got the event %s as %s", r.Name, p.ID, q.Var("event"))
	}
	return room, p, Reply{}
}

func (r *Remote) answerSendJoin(q *Request) Reply {
	room, p, refusal := r.membership(q)
	if p == nil {
		return refusal
	}
	before := room.before(p)
	servers := room.servers()
	room.add(p)
	room.pass(p, q.Origin)
	state := room.pick(before)
	return OK(Fields{
		"origin": r.Name, "state": raws(state), "auth_chain": raws(room.chain(append(state, p))), "event": p.Raw,
		"members_omitted": false, "servers_in_room": servers,
	})
}

func (r *Remote) answerSendLeave(q *Request) Reply {
	room, p, refusal := r.membership(q)
	if p == nil {
		return refusal
	}
	room.add(p)
	room.pass(p, q.Origin)
	return OK(Fields{})
}

func (r *Remote) answerSendKnock(q *Request) Reply {
	room, p, refusal := r.membership(q)
	if p == nil {
		return refusal
	}
	room.add(p)
	room.pass(p, q.Origin)
	return OK(Fields{"knock_room_state": room.stripped()})
}

// pass tells the other servers of a room what one of them has sent here, as a resident server does.
func (m *Room) pass(p *PDU, origin id.ServerName) {
	for _, to := range m.servers() {
		if to != origin && to != m.remote.Name {
			m.remote.later(to, p)
		}
	}
}

// later sends an event without waiting for what becomes of it: the test may have ended.
func (r *Remote) later(to id.ServerName, p *PDU) {
	r.txn++
	path := fmt.Sprint("v1/send/later", r.txn)
	go r.Try("PUT", to, path, r.Transaction([]*PDU{p}))
}

func (r *Remote) answerInvite(q *Request) Reply {
	version, err := roomVersion(q.Body.Get("room_version").Str)
	if err != nil {
		return Fails(http.StatusBadRequest, "M_INCOMPATIBLE_ROOM_VERSION")
	}
	event, err := object([]byte(q.Body.Get("event").Raw))
	if err != nil {
		return Fails(http.StatusBadRequest, "M_BAD_JSON")
	}
	p, err := r.signer.sign(version, event)
	if err != nil {
		return Fails(http.StatusBadRequest, "M_BAD_JSON")
	}
	return OK(Fields{"event": p.Raw})
}

// find looks for an event in the room of a request, or in all.
func (r *Remote) find(q *Request, event string) (*Room, *PDU) {
	for _, room := range r.rooms {
		if p := room.events[id.EventID(event)]; p != nil && (q.Var("room") == "" || q.Var("room") == string(room.ID)) {
			return room, p
		}
	}
	return nil, nil
}

func (r *Remote) answerEvent(q *Request) Reply {
	_, p := r.find(q, q.Var("event"))
	if p == nil {
		return nothing(r, q)
	}
	return OK(Fields{"origin": r.Name, "origin_server_ts": time.Now().UnixMilli(), "pdus": raws([]*PDU{p})})
}

func (r *Remote) answerState(q *Request) Reply {
	room, p := r.find(q, q.Query.Get("event_id"))
	if p == nil {
		return nothing(r, q)
	}
	state := room.pick(room.before(p))
	return OK(Fields{"pdus": raws(state), "auth_chain": raws(room.chain(state))})
}

func (r *Remote) answerStateIDs(q *Request) Reply {
	room, p := r.find(q, q.Query.Get("event_id"))
	if p == nil {
		return nothing(r, q)
	}
	state := room.pick(room.before(p))
	return OK(Fields{"pdu_ids": eventIDs(state), "auth_chain_ids": eventIDs(room.chain(state))})
}

func (r *Remote) answerEventAuth(q *Request) Reply {
	room, p := r.find(q, q.Var("event"))
	if p == nil {
		return nothing(r, q)
	}
	return OK(Fields{"auth_chain": raws(room.chain([]*PDU{p}))})
}

func (r *Remote) answerBackfill(q *Request) Reply {
	room := r.rooms[id.RoomID(q.Var("room"))]
	if room == nil {
		return nothing(r, q)
	}
	limit, err := strconv.Atoi(q.Query.Get("limit"))
	if err != nil {
		return Fails(http.StatusBadRequest, "M_INVALID_PARAM")
	}
	found := room.history(q.Query["v"], limit, func(*PDU) bool { return true })
	return OK(Fields{"origin": r.Name, "origin_server_ts": time.Now().UnixMilli(), "pdus": raws(found)})
}

func (r *Remote) answerMissing(q *Request) Reply {
	room := r.rooms[id.RoomID(q.Var("room"))]
	if room == nil {
		return nothing(r, q)
	}
	limit := 10
	if l := q.Body.Get("limit"); l.Exists() {
		limit = int(l.Int())
	}
	earliest, latest := textsOf(q.Body.Get("earliest_events")), textsOf(q.Body.Get("latest_events"))
	found := room.history(latest, limit+len(latest), func(p *PDU) bool { return !slices.Contains(earliest, string(p.ID)) })
	found = slices.DeleteFunc(found, func(p *PDU) bool { return slices.Contains(latest, string(p.ID)) })
	slices.Reverse(found)
	return OK(Fields{"events": raws(found)})
}

func textsOf(list gjson.Result) []string {
	var out []string
	for _, v := range list.Array() {
		out = append(out, v.Str)
	}
	return out
}

func (r *Remote) answerDirectory(q *Request) Reply {
	room, ok := r.aliases[id.RoomAlias(q.Query.Get("room_alias"))]
	if !ok {
		return nothing(r, q)
	}
	return OK(Fields{"room_id": room, "servers": []id.ServerName{r.Name}})
}

// Alias gives a room a name.
func (r *Remote) Alias(name string, room id.RoomID) id.RoomAlias {
	r.mu.Lock()
	defer r.mu.Unlock()
	alias := id.RoomAlias("#" + name + ":" + string(r.Name))
	r.aliases[alias] = room
	return alias
}

func raws(pdus []*PDU) []json.RawMessage {
	out := make([]json.RawMessage, len(pdus))
	for i, p := range pdus {
		out[i] = p.Raw
	}
	return out
}

func eventIDs(pdus []*PDU) []id.EventID {
	out := make([]id.EventID, len(pdus))
	for i, p := range pdus {
		out[i] = p.ID
	}
	return out
}
