package tests

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hearthd/hearth/internal/hearthtest"
	"github.com/hearthd/hearth/internal/id"
)

// siege is a server with a good neighbour and a bad one: alice talks to bob of the neighbour in the kitchen, and is in the trap of mallory.
type siege struct {
	t          *testing.T
	net        *hearthtest.Network
	a          *hearthtest.Server
	alice, bob *hearthtest.User
	kitchen    id.RoomID
	mallory    *hearthtest.Remote
	eve        id.UserID
	trap       *hearthtest.Room
}

// besiege puts a new bad neighbour beside the good one.
func (s *siege) besiege(t *testing.T) *siege {
	t.Helper()
	out := *s
	out.t = t
	out.alice, out.bob = s.alice.With(t), s.bob.With(t)
	out.mallory = s.net.RemoteIn(t)
	out.eve = out.mallory.User("eve")
	out.trap = out.mallory.CreateRoom(out.eve, "10")
	s.alice.Join(out.trap.ID, out.mallory.Name)
	describe(t, out.trap.ID, out.alice)
	return &out
}

// stands checks that nobody else has noticed anything: the kitchen works both ways, and so does the trap as far as alice is concerned.
func (s *siege) stands() {
	s.t.Helper()
	text := s.t.Name()
	s.alice.Say(s.kitchen, text+" from alice")
	s.bob.WaitFor(s.kitchen, text+" from alice")
	s.bob.Say(s.kitchen, text+" from bob")
	s.alice.WaitFor(s.kitchen, text+" from bob")
}

// talks checks that the trap is still a room that alice and eve can use.
func (s *siege) talks() {
	s.t.Helper()
	s.trap.WaitFor(s.alice.Say(s.trap.ID, s.t.Name()+" from alice"))
	s.trap.Say(s.eve, s.t.Name()+" from eve")
	s.alice.WaitFor(s.trap.ID, s.t.Name()+" from eve")
}

// message is a message of eve that has not been sent.
func (s *siege) message(d hearthtest.Draft) *hearthtest.PDU {
	s.t.Helper()
	d.Type, d.Sender, d.Content = "m.room.message", s.eve, fields{"msgtype": "m.text", "body": s.t.Name()}
	return s.trap.Make(d)
}

// send sends events and returns what is said against each.
func (s *siege) send(pdus ...*hearthtest.PDU) map[id.EventID]string {
	return s.mallory.SendTo(s.a.Name, pdus...)
}

// unseen checks that alice cannot see an event.
func (s *siege) unseen(events ...id.EventID) {
	s.t.Helper()
	for _, event := range events {
		if r := s.alice.Do("GET", path("rooms", s.trap.ID, "event", event), nil); r.Status != 404 {
			s.t.Errorf("%s is there: %d %s", event, r.Status, r.Body)
		}
	}
}

// refusedEach checks that all events were refused: with a reason, but for those that are too broken to have an id.
func (s *siege) refusedEach(pdus ...*hearthtest.PDU) {
	s.t.Helper()
	r := s.mallory.Must("PUT", s.a.Name, fmt.Sprint("v1/send/refused", time.Now().UnixNano()), s.mallory.Transaction(pdus))
	for _, p := range pdus {
		if result := r.At("pdus", p.ID); result.Exists() && result.Get("error").Str == "" {
			s.t.Errorf("%s was accepted: %s", p.ID, p.Raw)
		}
		s.unseen(p.ID)
	}
}

// nested is a value of some depth.
func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

func TestHostilePeers(t *testing.T) {
	t.Parallel()
	net := hearthtest.NewNetwork(t)
	base := &siege{t: t, net: net, a: net.Start()}
	base.alice, base.bob = base.a.User("alice"), net.Start().User("bob")
	base.kitchen = base.alice.CreateRoom()
	base.bob.Join(base.kitchen, base.a.Name)
	base.alice.WaitForMembership(base.kitchen, base.bob.ID, "join")
	for _, table := range []map[string]func(*siege){hostileTransactions, hostileEvents, hostileHistories, hostileHandshakes, hostileAnswers} {
		for name, attack := range table {
			t.Run(name, func(t *testing.T) {
				s := base.besiege(t)
				began := time.Now()
				attack(s)
				s.stands()
				if d := time.Since(began); d > time.Minute {
					t.Errorf("it took %v", d)
				}
			})
		}
	}
}

var hostileTransactions = map[string]func(*siege){
	"a transaction that is no JSON": func(s *siege) {
		s.mallory.Refused("PUT", s.a.Name, "v1/send/bad", `{"pdus":`, 400, "M_NOT_JSON")
	},
	"a transaction nested without end": func(s *siege) {
		r := s.mallory.Do("PUT", s.a.Name, "v1/send/deep", `{"origin":"`+string(s.mallory.Name)+`","origin_server_ts":1,"pdus":[],"edus":`+nested(100_000)+`}`)
		if r.Status < 400 || r.Status > 413 {
			s.t.Errorf("the answer is %d %s", r.Status, r.Body)
		}
	},
	"a transaction without end": func(s *siege) {
		authorization := fmt.Sprintf(`X-Matrix origin="%s",destination="%s",key="ed25519:remote",sig="AAAA"`, s.mallory.Name, s.a.Name)
		body := []byte(`{"pdus":[],"x":"` + strings.Repeat("x", 32<<20) + `"}`)
		r, err := s.mallory.Raw(s.t.Context(), "PUT", s.a.Name, "/_matrix/federation/v1/send/large", body, http.Header{"Authorization": {authorization}})
		if err == nil && !r.Refused(413, "M_TOO_LARGE") { // it may also hang up
			s.t.Errorf("the answer is %d %s", r.Status, r.Body)
		}
	},
	"more events than a transaction may have": func(s *siege) {
		var pdus []*hearthtest.PDU
		for range 51 {
			pdus = append(pdus, s.message(hearthtest.Draft{}))
		}
		r := s.mallory.Do("PUT", s.a.Name, "v1/send/many", s.mallory.Transaction(pdus))
		if r.Status != 400 && r.Status != 413 {
			s.t.Errorf("the answer is %d %s", r.Status, r.Body)
		}
	},
	"the same transaction twice": func(s *siege) {
		p := s.message(hearthtest.Draft{})
		s.trap.Add(p)
		first := s.mallory.Must("PUT", s.a.Name, "v1/send/same", s.mallory.Transaction([]*hearthtest.PDU{p}))
		again := s.mallory.Must("PUT", s.a.Name, "v1/send/same", s.mallory.Transaction([]*hearthtest.PDU{p}))
		equal(s.t, "the second answer", string(again.Body), string(first.Body))
		s.mallory.Must("PUT", s.a.Name, "v1/send/other", s.mallory.Transaction([]*hearthtest.PDU{p, p}))
		s.alice.WaitForID(s.trap.ID, p.ID)
		seen := 0
		for _, e := range hearthtest.Events(messages(s.alice, s.trap.ID, "dir=b&limit=50").Get("chunk")) {
			if e.ID() == string(p.ID) {
				seen++
			}
		}
		equal(s.t, "how often the event is there", seen, 1)
		s.talks()
	},
	"one bad event among good ones": func(s *siege) {
		good := s.message(hearthtest.Draft{})
		s.trap.Add(good)
		bad := s.message(hearthtest.Draft{Forge: func(e map[string]any) { delete(e, "signatures") }})
		r := s.mallory.Must("PUT", s.a.Name, "v1/send/mixed", fields{
			"origin": s.mallory.Name, "origin_server_ts": 1, "pdus": []any{bad.Raw, "no event", 7, fields{}, fields{"room_id": 3}, good.Raw},
		})
		equal(s.t, "the good one", r.At("pdus", good.ID).Raw, "{}")
		s.alice.WaitForID(s.trap.ID, good.ID)
		s.unseen(bad.ID)
		s.talks()
	},
	"requests that are not signed as they should be": func(s *siege) {
		header := func(authorization string) http.Header { return http.Header{"Authorization": {authorization}} }
		for name, authorization := range map[string]string{
			"no signature":     ``,
			"nothing":          `X-Matrix `,
			"another scheme":   `Bearer abc`,
			"a wrong one":      fmt.Sprintf(`X-Matrix origin="%s",destination="%s",key="ed25519:remote",sig="AAAA"`, s.mallory.Name, s.a.Name),
			"another server":   fmt.Sprintf(`X-Matrix origin="nowhere.test",destination="%s",key="ed25519:a",sig="AAAA"`, s.a.Name),
			"the server's own": fmt.Sprintf(`X-Matrix origin="%s",destination="%s",key="ed25519:a",sig="AAAA"`, s.a.Name, s.a.Name),
			"a long one":       `X-Matrix ` + strings.Repeat(`origin="x",`, 3000),
		} {
			r, err := s.mallory.Raw(s.t.Context(), "PUT", s.a.Name, "/_matrix/federation/v1/send/x", []byte(`{"pdus":[]}`), header(authorization))
			if err != nil || r.Status != 401 {
				s.t.Errorf("%s: %d %s, %v", name, r.Status, r.Body, err)
			}
		}
		s.talks()
	},
	"people of others in EDUs": func(s *siege) {
		s.alice.Must("PUT", path("presence", s.alice.ID, "status"), fields{"presence": "online", "status_msg": "mine"})
		s.mallory.SendEDU(s.a.Name, "m.typing", fields{"room_id": s.trap.ID, "user_id": s.alice.ID, "typing": true})
		s.mallory.SendEDU(s.a.Name, "m.typing", fields{"room_id": s.kitchen, "user_id": s.eve, "typing": true})
		s.mallory.SendEDU(s.a.Name, "m.presence", fields{"push": []fields{{"user_id": s.alice.ID, "presence": "offline", "status_msg": "forged"}}})
		s.mallory.SendEDU(s.a.Name, "m.direct_to_device", fields{
			"sender": s.bob.ID, "type": "example.forged", "message_id": "1", "messages": fields{string(s.alice.ID): fields{"*": fields{}}},
		})
		s.mallory.SendEDU(s.a.Name, "m.device_list_update", fields{"user_id": s.bob.ID, "device_id": "X", "stream_id": 1, "prev_id": []int{}})
		for _, nonsense := range []any{nil, 7, "x", []int{}, fields{}, fields{"push": 3}, fields{"user_id": 3}} {
			for _, typ := range []string{"m.typing", "m.receipt", "m.presence", "m.direct_to_device", "m.device_list_update", "m.signing_key_update", "", "x"} {
				s.mallory.SendEDU(s.a.Name, typ, nonsense)
			}
		}
		s.talks()
		r := s.alice.Sync()
		if strings.Contains(string(r.Body), "forged") || strings.Contains(r.At("rooms", "join", s.trap.ID, "ephemeral").Raw, string(s.alice.ID)) ||
			strings.Contains(r.At("rooms", "join", s.kitchen, "ephemeral").Raw, string(s.eve)) {
			s.t.Errorf("alice has got what mallory has forged: %s", r.Body)
		}
	},
}

var hostileEvents = map[string]func(*siege){
	"events that are not signed as they should be": func(s *siege) {
		s.refusedEach(
			s.message(hearthtest.Draft{Forge: func(e map[string]any) { delete(e, "signatures") }}),
			s.message(hearthtest.Draft{Forge: func(e map[string]any) {
				e["signatures"] = fields{string(s.mallory.Name): fields{"ed25519:remote": strings.Repeat("A", 86)}}
			}}),
			s.message(hearthtest.Draft{Forge: func(e map[string]any) {
				e["signatures"] = fields{string(s.mallory.Name): fields{"ed25519:other": strings.Repeat("A", 86)}}
			}}),
			s.message(hearthtest.Draft{Forge: func(e map[string]any) { e["depth"] = 1000 }}),
		)
		s.talks()
	},
	"events in the name of others": func(s *siege) {
		for _, user := range []id.UserID{s.alice.ID, s.bob.ID, "@nobody:nowhere.test"} {
			s.refusedEach(s.trap.Make(hearthtest.Draft{Type: "m.room.message", Sender: user, Content: fields{"body": "forged"}}))
		}
		s.talks()
	},
	"an event of which the content was changed": func(s *siege) {
		p := s.message(hearthtest.Draft{Forge: func(e map[string]any) { e["content"] = fields{"msgtype": "m.text", "body": "changed"} }})
		s.trap.Add(p)
		equal(s.t, "what is said against it", s.send(p)[p.ID], "")
		s.alice.WaitForID(s.trap.ID, p.ID)
		equal(s.t, "what is left", s.alice.Event(s.trap.ID, p.ID).Get("content").Raw, "{}")
		s.talks()
	},
	"events that are too large": func(s *siege) {
		large := s.trap.Make(hearthtest.Draft{Type: "m.room.message", Sender: s.eve, Content: fields{"body": strings.Repeat("x", 66_000)}})
		s.send(large)
		s.unseen(large.ID)
		key := strings.Repeat("k", 300)
		long := s.trap.Make(hearthtest.Draft{Type: "example.long", Key: &key, Sender: s.eve, Content: fields{}})
		s.send(long)
		s.unseen(long.ID)
		s.talks()
	},
	"events nested without end": func(s *siege) {
		p := s.message(hearthtest.Draft{})
		text := strings.Replace(string(p.Raw), `"body":`, `"deep":`+nested(25_000)+`,"body":`, 1)
		r := s.mallory.Do("PUT", s.a.Name, "v1/send/nested", `{"origin":"`+string(s.mallory.Name)+`","origin_server_ts":1,"pdus":[`+text+`]}`)
		if r.Status >= 500 {
			s.t.Errorf("the answer is %d %s", r.Status, r.Body)
		}
		s.unseen(p.ID)
		s.talks()
	},
	"numbers that are none": func(s *siege) {
		for i, number := range []string{"1.5", "1e400", "9007199254740993", "-1", `"7"`, "null"} {
			p := s.message(hearthtest.Draft{})
			text := strings.Replace(string(p.Raw), `"depth":`, `"depth":`+number+`,"was":`, 1)
			s.mallory.Must("PUT", s.a.Name, fmt.Sprint("v1/send/number", i), `{"origin":"`+string(s.mallory.Name)+`","origin_server_ts":1,"pdus":[`+text+`]}`)
			s.unseen(p.ID)
		}
		s.talks()
	},
	"auth events of another room": func(s *siege) {
		other := s.mallory.CreateRoom(s.eve, "10")
		foreign := []id.EventID{
			other.State("m.room.create", "").ID, other.State("m.room.power_levels", "").ID, other.State("m.room.member", string(s.eve)).ID,
		}
		s.refusedEach(s.message(hearthtest.Draft{Auth: foreign}))
		s.refusedEach(s.message(hearthtest.Draft{Auth: append(foreign[1:], s.trap.State("m.room.create", "").ID)}))
		s.talks()
	},
	"auth events that authorise nothing": func(s *siege) {
		create, member := s.trap.State("m.room.create", "").ID, s.trap.State("m.room.member", string(s.eve)).ID
		levels := s.trap.State("m.room.power_levels", "").ID
		for _, auth := range [][]id.EventID{{}, {create}, {create, create, levels, member}, {create, levels, member, s.trap.State("m.room.join_rules", "").ID}} {
			s.refusedEach(s.message(hearthtest.Draft{Auth: auth}))
		}
		s.talks()
	},
	"an event by which somebody takes what they have not got": func(s *siege) {
		frank := s.mallory.User("frank")
		s.trap.SetMembership(frank, frank, "join")
		for _, d := range []hearthtest.Draft{
			{Type: "m.room.power_levels", Key: hearthtest.Key(""), Sender: frank, Content: fields{"users": fields{string(frank): 100}}},
			{Type: "m.room.member", Key: hearthtest.Key(string(s.alice.ID)), Sender: frank, Content: fields{"membership": "ban"}},
			{Type: "m.room.create", Key: hearthtest.Key(""), Sender: s.eve, Content: fields{"room_version": "10", "creator": s.eve}},
			{Type: "m.room.member", Key: hearthtest.Key(string(frank)), Sender: s.eve, Content: fields{"membership": "join"}},
		} {
			s.refusedEach(s.trap.Make(d))
		}
		equal(s.t, "alice", s.alice.Membership(s.trap.ID, s.alice), "join")
		s.talks()
	},
	"events from the future": func(s *siege) {
		at := func(ts time.Time) *hearthtest.PDU {
			return s.trap.Make(hearthtest.Draft{
				Type: "m.room.message", Sender: s.eve, Content: fields{"msgtype": "m.text", "body": "future"}, Time: ts,
				Edit: func(e map[string]any) { e["depth"] = 1<<53 - 1 },
			})
		}
		s.refusedEach(at(time.Date(2400, 1, 1, 0, 0, 0, 0, time.UTC))) // nobody can say what keys count then
		soon := at(time.Now().Add(12 * time.Hour))
		s.trap.Add(soon)
		equal(s.t, "what is said against it", s.send(soon)[soon.ID], "")
		said := s.trap.WaitFor(s.alice.Say(s.trap.ID, "now"))
		if said.Depth() > 1<<53-1 {
			s.t.Errorf("the depth after it is %d", said.Depth())
		}
		s.trap.SetState(s.eve, "m.room.topic", "", fields{"topic": "later"})
		s.alice.WaitForState(s.trap.ID, "m.room.topic", "", func(r hearthtest.Response) bool { return r.Get("topic").Str == "later" })
	},
	"an event that refers to itself and others in a circle": func(s *siege) {
		first := s.message(hearthtest.Draft{Prev: []id.EventID{"$circlecirclecirclecirclecirclecirclecircleA"}})
		s.send(first)
		s.unseen("$circlecirclecirclecirclecirclecirclecircleA")
		s.talks()
	},
	"more prev_events and auth_events than there may be": func(s *siege) {
		var many []id.EventID
		for i := range 30 {
			many = append(many, id.EventID(fmt.Sprintf("$%043d", i)))
		}
		s.refusedEach(s.message(hearthtest.Draft{Prev: many}), s.message(hearthtest.Draft{Auth: many}))
		s.talks()
	},
	"a room that forks at every event": func(s *siege) {
		tips := s.trap.Tips()
		for range 4 {
			var bomb []*hearthtest.PDU
			for range 40 {
				p := s.message(hearthtest.Draft{Prev: tips})
				s.trap.Add(p)
				bomb = append(bomb, p)
			}
			for event, why := range s.send(bomb...) {
				s.t.Errorf("%s is refused: %s", event, why)
			}
		}
		said := s.trap.WaitFor(s.alice.Say(s.trap.ID, "after the bomb"))
		if n := len(said.Prev()); n > 20 {
			s.t.Errorf("the next event has %d prev_events", n)
		}
	},
	"state that forks at every event": func(s *siege) {
		tips := s.trap.Tips()
		for i := range 25 {
			p := s.trap.Make(hearthtest.Draft{
				Type: "m.room.topic", Key: hearthtest.Key(""), Sender: s.eve, Content: fields{"topic": fmt.Sprint("fork ", i)}, Prev: tips,
			})
			s.trap.Add(p)
			s.send(p)
		}
		s.trap.WaitFor(s.alice.Say(s.trap.ID, "after the forks"))
	},
}
