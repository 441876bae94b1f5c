package tests

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hearthd/hearth/internal/hearthtest"
	"github.com/hearthd/hearth/internal/id"
)

// few is more requests than a single event may cause.
const few = 60

// bounded checks that an endpoint was not asked without end.
func (s *siege) bounded(endpoint string) {
	s.t.Helper()
	if n := len(s.mallory.Requests(endpoint)); n > few {
		s.t.Errorf("%s was asked %d times", endpoint, n)
	}
}

var hostileHistories = map[string]func(*siege){
	"prev_events without end": func(s *siege) {
		// Every event has another one before it that nobody knows yet.
		back := func() *hearthtest.PDU {
			before := s.trap.Make(hearthtest.Draft{Type: "m.room.message", Sender: s.eve, Content: fields{"body": "before"}})
			return s.trap.Make(hearthtest.Draft{Type: "m.room.message", Sender: s.eve, Content: fields{"body": "endless"}, Prev: []id.EventID{before.ID}})
		}
		s.mallory.On("missing", func(*hearthtest.Request) hearthtest.Reply {
			return hearthtest.OK(fields{"events": []json.RawMessage{back().Raw}})
		})
		s.mallory.On("event", func(*hearthtest.Request) hearthtest.Reply {
			return hearthtest.OK(fields{"origin": s.mallory.Name, "origin_server_ts": 1, "pdus": []json.RawMessage{back().Raw}})
		})
		for _, endpoint := range []string{"state", "state_ids"} {
			s.mallory.On(endpoint, func(*hearthtest.Request) hearthtest.Reply { return hearthtest.Fails(404, "M_NOT_FOUND") })
		}
		p := back()
		s.send(p)
		s.unseen(p.ID)
		for _, endpoint := range []string{"missing", "event", "state", "state_ids"} {
			s.bounded(endpoint)
			s.mallory.On(endpoint, nil)
		}
		s.talks()
	},
	"a gap filled with what does not belong there": func(s *siege) {
		between := s.message(hearthtest.Draft{})
		last := s.trap.Make(hearthtest.Draft{Type: "m.room.message", Sender: s.eve, Content: fields{"body": "last"}, Prev: []id.EventID{between.ID}})
		foreign := s.mallory.CreateRoom(s.eve, "10").State("m.room.join_rules", "")
		forged := s.message(hearthtest.Draft{Forge: func(e map[string]any) { delete(e, "signatures") }})
		s.mallory.On("missing", func(*hearthtest.Request) hearthtest.Reply {
			return hearthtest.OK(fields{"events": []any{foreign.Raw, forged.Raw, 7, nil, "x", fields{}, between.Raw}})
		})
		s.trap.Add(between, last)
		equal(s.t, "what is said against it", s.send(last)[last.ID], "")
		s.alice.WaitForID(s.trap.ID, last.ID)
		s.unseen(forged.ID, foreign.ID)
		s.talks()
	},
	"state that is a lie": func(s *siege) {
		other := s.mallory.CreateRoom(s.eve, "10")
		gone := s.message(hearthtest.Draft{})
		s.mallory.On("missing", func(*hearthtest.Request) hearthtest.Reply { return hearthtest.OK(fields{"events": []any{}}) })
		s.mallory.On("event", func(q *hearthtest.Request) hearthtest.Reply {
			if q.Var("event") == string(gone.ID) {
				return hearthtest.Fails(404, "M_NOT_FOUND")
			}
			return q.Honest()
		})
		var many []string
		for i := range 20_000 {
			many = append(many, fmt.Sprintf("$%043d", i))
		}
		for name, lie := range map[string]fields{
			"state of another room": {"pdu_ids": []id.EventID{other.State("m.room.create", "").ID, other.State("m.room.member", string(s.eve)).ID}, "auth_chain_ids": []string{}},
			"events nobody has":     {"pdu_ids": many, "auth_chain_ids": many},
			"nothing":               {"pdu_ids": []string{}, "auth_chain_ids": []string{}},
			"nonsense":              {"pdu_ids": 7, "auth_chain_ids": fields{}},
		} {
			s.mallory.On("state_ids", func(*hearthtest.Request) hearthtest.Reply { return hearthtest.OK(lie) })
			s.mallory.On("state", func(*hearthtest.Request) hearthtest.Reply { return hearthtest.Fails(404, "M_NOT_FOUND") })
			asked := len(s.mallory.Asked())
			p := s.trap.Make(hearthtest.Draft{
				Type: "m.room.topic", Key: hearthtest.Key(""), Sender: s.eve, Content: fields{"topic": name}, Prev: []id.EventID{gone.ID},
			})
			s.send(p)
			if n := len(s.mallory.Asked()) - asked; n > 5*few {
				s.t.Errorf("%s: %d requests", name, n)
			}
			equal(s.t, name+": alice", s.alice.Membership(s.trap.ID, s.alice), "join")
			equal(s.t, name+": eve", s.alice.State(s.trap.ID, "m.room.member", string(s.eve)).Get("membership").Str, "join")
		}
		for _, endpoint := range []string{"missing", "event", "state", "state_ids"} {
			s.mallory.On(endpoint, nil)
		}
		s.talks()
	},
	"history that is a lie": func(s *siege) {
		foreign := s.mallory.CreateRoom(s.eve, "10").State("m.room.join_rules", "")
		forged := s.message(hearthtest.Draft{Forge: func(e map[string]any) { delete(e, "signatures") }})
		s.mallory.On("backfill", func(q *hearthtest.Request) hearthtest.Reply {
			return hearthtest.OK(fields{"origin": s.mallory.Name, "origin_server_ts": 1, "pdus": []any{foreign.Raw, forged.Raw, 7, "x", fields{}}})
		})
		history(s.t, s.alice, s.trap.ID, 5)
		s.bounded("backfill")
		s.unseen(foreign.ID, forged.ID)
		s.talks()
	},
}

// template scripts what make_join proposes.
func (s *siege) template(edit func(event map[string]any), version string) {
	s.mallory.On("make_join", func(q *hearthtest.Request) hearthtest.Reply {
		text, err := json.Marshal(q.Honest().Body)
		var answer map[string]any
		if err != nil || json.Unmarshal(text, &answer) != nil {
			return hearthtest.Fails(500, "M_UNKNOWN")
		}
		edit(answer["event"].(map[string]any))
		if version != "" {
			answer["room_version"] = version
		}
		return hearthtest.OK(answer)
	})
}

var hostileHandshakes = map[string]func(*siege){
	"templates of something else than a join": func(s *siege) {
		for name, edit := range map[string]func(map[string]any){
			"another type":       func(e map[string]any) { e["type"] = "m.room.power_levels" },
			"another sender":     func(e map[string]any) { e["sender"] = s.bob.ID },
			"another user":       func(e map[string]any) { e["state_key"] = s.bob.ID },
			"another room":       func(e map[string]any) { e["room_id"] = s.kitchen },
			"another membership": func(e map[string]any) { e["content"] = fields{"membership": "leave"} },
			"no content":         func(e map[string]any) { delete(e, "content") },
			"auth events galore": func(e map[string]any) { e["auth_events"] = strings.Split(strings.Repeat("$x,", 5000), ",") },
			"nonsense": func(e map[string]any) {
				for k := range e {
					e[k] = 7
				}
			},
		} {
			room := s.mallory.CreateRoom(s.eve, "10")
			s.template(edit, "")
			before := len(s.mallory.Requests("send_join"))
			r := s.alice.Do("POST", hearthtest.Through(path("join", room.ID), s.mallory.Name), fields{})
			for _, q := range s.mallory.Requests("send_join")[before:] {
				// Whatever the server signs, it may only be the join that was asked for.
				if q.Body.Get("type").Str != "m.room.member" || q.Body.Get("sender").Str != string(s.alice.ID) || q.Body.Get("state_key").Str != string(s.alice.ID) ||
					q.Body.Get("room_id").Str != string(room.ID) || q.Body.Get("content.membership").Str != "join" {
					s.t.Errorf("%s: mallory has got a signature of %s", name, q.Raw)
				}
			}
			if r.Status == 500 || r.Status == 200 && name != "no content" {
				s.t.Errorf("%s: %d %s", name, r.Status, r.Body)
			}
		}
		s.mallory.On("make_join", nil)
		s.talks()
	},
	"a room version that nobody knows": func(s *siege) {
		room := s.mallory.CreateRoom(s.eve, "10")
		s.template(func(map[string]any) {}, "example.99")
		r := s.alice.Do("POST", hearthtest.Through(path("join", room.ID), s.mallory.Name), fields{})
		if r.Status == 200 || r.Status == 500 {
			s.t.Errorf("the answer is %d %s", r.Status, r.Body)
		}
	},
	"a join that leads nowhere": func(s *siege) {
		for name, lie := range map[string]func(answer fields){
			"no state":              func(a fields) { a["state"], a["auth_chain"] = []any{}, []any{} },
			"nonsense":              func(a fields) { a["state"], a["auth_chain"] = 7, "x" },
			"state of another room": func(a fields) { a["state"] = []json.RawMessage{s.trap.State("m.room.create", "").Raw} },
			"no auth chain for it":  func(a fields) { a["auth_chain"] = []any{}; a["state"] = a["state"].([]json.RawMessage)[1:] },
			"another version inside": func(a fields) {
				a["state"] = []json.RawMessage{[]byte(`{"type":"m.room.create","content":{"room_version":"1"}}`)}
			},
		} {
			room := s.mallory.CreateRoom(s.eve, "10")
			s.mallory.On("send_join", func(q *hearthtest.Request) hearthtest.Reply {
				reply := q.Honest()
				answer := fields{}
				for k, v := range reply.Body.(fields) {
					answer[k] = v
				}
				lie(answer)
				return hearthtest.OK(answer)
			})
			r := s.alice.Do("POST", hearthtest.Through(path("join", room.ID), s.mallory.Name), fields{})
			if r.Status == 200 || r.Status == 500 {
				s.t.Errorf("%s: %d %s", name, r.Status, r.Body)
			}
			if r := s.alice.Do("GET", path("rooms", room.ID, "state"), nil); r.Status == 200 {
				s.t.Errorf("%s: alice is in the room: %s", name, r.Body)
			}
		}
		s.mallory.On("send_join", nil)
		s.talks()
	},
	"some bad events in a join": func(s *siege) {
		room := s.mallory.CreateRoom(s.eve, "10")
		forged := room.Make(hearthtest.Draft{
			Type: "m.room.topic", Key: hearthtest.Key(""), Sender: s.eve, Content: fields{"topic": "forged"}, Forge: func(e map[string]any) { delete(e, "signatures") },
		})
		s.mallory.On("send_join", func(q *hearthtest.Request) hearthtest.Reply {
			answer := q.Honest().Body.(fields)
			answer["state"] = append(answer["state"].([]json.RawMessage), forged.Raw, []byte(`7`), []byte(`{}`))
			return hearthtest.OK(answer)
		})
		s.alice.Join(room.ID, s.mallory.Name)
		if r := s.alice.Do("GET", path("rooms", room.ID, "state", "m.room.topic", ""), nil); r.Status != 404 {
			s.t.Errorf("the forged topic is %s", r.Body)
		}
		room.WaitFor(s.alice.Say(room.ID, "hello"))
	},
	"forged invitations": func(s *siege) {
		invite := func(d hearthtest.Draft) *hearthtest.PDU {
			d.Type = "m.room.member"
			if d.Key == nil {
				d.Key = hearthtest.Key(string(s.alice.ID))
			}
			if d.Sender == "" {
				d.Sender = s.eve
			}
			if d.Content == nil {
				d.Content = fields{"membership": "invite"}
			}
			return s.mallory.CreateRoom(s.eve, "10").Make(d)
		}
		nobody, stranger := "@nobody:"+string(s.a.Name), string(s.bob.ID)
		for name, p := range map[string]*hearthtest.PDU{
			"by somebody else":     invite(hearthtest.Draft{Sender: s.bob.ID}),
			"by alice":             invite(hearthtest.Draft{Sender: s.alice.ID}),
			"of somebody else":     invite(hearthtest.Draft{Key: &stranger}),
			"of nobody":            invite(hearthtest.Draft{Key: &nobody}),
			"that is a join":       invite(hearthtest.Draft{Content: fields{"membership": "join"}}),
			"that is a message":    invite(hearthtest.Draft{Edit: func(e map[string]any) { e["type"] = "m.room.message" }}),
			"of another room":      invite(hearthtest.Draft{Edit: func(e map[string]any) { e["room_id"] = s.kitchen }}),
			"without a signature":  invite(hearthtest.Draft{Forge: func(e map[string]any) { delete(e, "signatures") }}),
			"with another content": invite(hearthtest.Draft{Forge: func(e map[string]any) { e["content"] = fields{"membership": "invite", "displayname": "forged"} }}),
		} {
			r := s.mallory.Do("PUT", s.a.Name, "v2/"+path("invite", "!forged:"+string(s.mallory.Name), p.ID), fields{
				"room_version": "10", "event": p.Raw, "invite_room_state": s.trap.Stripped(),
			})
			if r.Status < 400 || r.Status >= 500 || r.Get("errcode").Str == "" {
				s.t.Errorf("an invitation %s: %d %s", name, r.Status, r.Body)
			}
		}
		room := s.mallory.CreateRoom(s.eve, "10")
		good := room.Make(hearthtest.Draft{Type: "m.room.member", Key: hearthtest.Key(string(s.alice.ID)), Sender: s.eve, Content: fields{"membership": "invite"}})
		for name, body := range map[string]any{
			"no version":      fields{"event": good.Raw},
			"unknown version": fields{"room_version": "example.99", "event": good.Raw},
			"no event":        fields{"room_version": "10"},
			"not an object":   `[]`,
			"an empty event":  fields{"room_version": "10", "event": fields{}},
		} {
			r := s.mallory.Do("PUT", s.a.Name, "v2/"+path("invite", room.ID, good.ID), body)
			if r.Status < 400 || r.Status >= 500 || r.Get("errcode").Str == "" {
				s.t.Errorf("an invitation with %s: %d %s", name, r.Status, r.Body)
			}
		}
		if r := s.alice.Sync(); len(r.Get("rooms.invite").Map()) > 0 {
			s.t.Errorf("alice is invited: %s", r.Get("rooms.invite").Raw)
		}
	},
	"invitations with state that is nonsense": func(s *siege) {
		room := s.mallory.CreateRoom(s.eve, "10")
		p := room.Make(hearthtest.Draft{Type: "m.room.member", Key: hearthtest.Key(string(s.alice.ID)), Sender: s.eve, Content: fields{"membership": "invite"}})
		r := s.mallory.Do("PUT", s.a.Name, "v2/"+path("invite", room.ID, p.ID), fields{
			"room_version": "10", "event": p.Raw,
			"invite_room_state": []any{7, nil, "x", fields{}, fields{"type": 3}, fields{"type": "m.room.name", "state_key": "", "content": 7}, fields{
				"type": "m.room.name", "state_key": "", "sender": s.eve, "content": fields{"name": fields{"x": nil}},
			}},
		})
		if r.Status >= 500 {
			s.t.Errorf("the answer is %d %s", r.Status, r.Body)
		}
		s.alice.Sync() // must not break
		if r.Status == 200 {
			s.alice.Leave(room.ID)
		}
	},
	"people that belong to others": func(s *siege) {
		kitchen := path("make_join", s.kitchen, s.bob.ID)
		s.mallory.Refused("GET", s.a.Name, "v1/"+kitchen+"?ver=10&ver=11", nil, 403, "M_FORBIDDEN")
		r := s.mallory.Get(s.a.Name, "v1/"+path("make_join", s.kitchen, s.eve)+"?ver=10&ver=11&ver=12")
		for name, change := range map[string]func(map[string]any){
			"a ban":            func(e map[string]any) { e["content"] = fields{"membership": "ban"} },
			"somebody else":    func(e map[string]any) { e["sender"], e["state_key"] = s.bob.ID, s.bob.ID },
			"a message":        func(e map[string]any) { e["type"] = "m.room.message" },
			"another room":     func(e map[string]any) { e["room_id"] = s.trap.ID },
			"a power level":    func(e map[string]any) { e["type"], e["state_key"] = "m.room.power_levels", "" },
			"no prev_events":   func(e map[string]any) { e["prev_events"] = []string{} },
			"no auth_events":   func(e map[string]any) { e["auth_events"] = []string{} },
			"no membership":    func(e map[string]any) { e["content"] = fields{} },
			"prev_events of 7": func(e map[string]any) { e["prev_events"] = 7 },
		} {
			var event map[string]any
			if err := json.Unmarshal([]byte(r.Get("event").Raw), &event); err != nil {
				s.t.Fatal(err)
			}
			event["origin_server_ts"] = time.Now().UnixMilli()
			change(event)
			p := s.mallory.Complete(r.Get("room_version").Str, event)
			got := s.mallory.Do("PUT", s.a.Name, "v2/"+path("send_join", s.kitchen, p.ID), p.Raw)
			if got.Status < 400 || got.Status >= 500 {
				s.t.Errorf("send_join with %s: %d %s", name, got.Status, got.Body)
			}
		}
		if m := s.alice.State(s.kitchen, "m.room.member", string(s.bob.ID)).Get("membership").Str; m != "join" {
			s.t.Errorf("bob is now %s", m)
		}
	},
}

// drip writes a byte now and then until the other side hangs up.
func drip(q *hearthtest.Request) hearthtest.Reply {
	return hearthtest.Reply{Write: func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(`{"a":"`))
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				w.Write([]byte("x"))
				w.(http.Flusher).Flush()
			case <-q.Context().Done():
				return
			}
		}
	}}
}

var hostileAnswers = map[string]func(*siege){
	"answers without end": func(s *siege) {
		var sent atomic.Int64
		flood := func(q *hearthtest.Request) hearthtest.Reply {
			return hearthtest.Reply{Write: func(w http.ResponseWriter) {
				w.Header().Set("Content-Type", "application/json")
				chunk := []byte(strings.Repeat("x", 64<<10))
				w.Write([]byte(`{"displayname":"`))
				for q.Context().Err() == nil && sent.Load() < 1<<30 {
					n, err := w.Write(chunk)
					sent.Add(int64(n))
					if err != nil {
						return
					}
				}
			}}
		}
		for _, endpoint := range []string{"profile", "directory", "public_rooms", "make_join", "keys"} {
			s.mallory.On(endpoint, flood)
		}
		for _, p := range []string{
			path("profile", s.eve), path("directory", "room", "#x:"+string(s.mallory.Name)), "publicRooms?server=" + string(s.mallory.Name),
		} {
			if r := s.alice.Do("GET", p, nil); r.Status == 200 || r.Status == 500 {
				s.t.Errorf("%s: %d %.100s", p, r.Status, r.Body)
			}
		}
		if r := s.alice.Do("POST", hearthtest.Through(path("join", "!x:"+string(s.mallory.Name)), s.mallory.Name), fields{}); r.Status == 200 || r.Status == 500 {
			s.t.Errorf("join: %d %.100s", r.Status, r.Body)
		}
		if n := sent.Load(); n > 512<<20 {
			s.t.Errorf("%d MiB were read", n>>20)
		}
	},
	"answers that are nonsense": func(s *siege) {
		for _, body := range []string{"", "x", "null", "[]", "7", nested(50_000), `{"displayname":7,"room_id":7,"servers":7,"chunk":7,"event":7}`} {
			for _, endpoint := range []string{"profile", "directory", "public_rooms", "make_join", "hierarchy", "query_keys", "claim_keys", "devices"} {
				s.mallory.On(endpoint, func(*hearthtest.Request) hearthtest.Reply { return hearthtest.OK(body) })
			}
			server := string(s.mallory.Name)
			s.alice.Do("GET", path("profile", s.eve), nil)
			s.alice.Do("GET", path("directory", "room", "#x:"+server), nil)
			s.alice.Do("GET", "publicRooms?server="+server, nil)
			s.alice.Do("POST", "keys/query", fields{"device_keys": fields{string(s.eve): []string{}}})
			s.alice.Do("POST", "keys/claim", fields{"one_time_keys": fields{string(s.eve): fields{"X": "signed_curve25519"}}})
			s.alice.Do("POST", hearthtest.Through(path("join", "!x:"+server), s.mallory.Name), fields{})
			s.alice.Do("GET", "/_matrix/client/v1/"+path("rooms", s.trap.ID, "hierarchy"), nil)
		}
	},
	"answers that come a byte at a time": func(s *siege) {
		s.mallory.On("profile", drip)
		s.mallory.On("make_join", drip)
		waiting := make(chan error, 20)
		for i := range 20 {
			go func() {
				_, err := s.alice.Try("GET", path("profile", s.mallory.User(fmt.Sprint("u", i))), nil)
				waiting <- err
			}()
		}
		s.mallory.WaitForRequest("profile", nil)
		s.stands() // while they wait
		s.net.CutAll(s.mallory.Name)
		for range 20 {
			if err := <-waiting; err != nil {
				s.t.Error(err)
			}
		}
	},
	"redirects without end": func(s *siege) {
		var redirects atomic.Int64
		loop := func(q *hearthtest.Request) hearthtest.Reply {
			return hearthtest.Reply{Write: func(w http.ResponseWriter) {
				w.Header().Set("Location", fmt.Sprintf("https://%s/.well-known/matrix/server?%d", s.mallory.Name, redirects.Add(1)))
				w.WriteHeader(http.StatusFound)
			}}
		}
		other := s.net.RemoteIn(s.t)
		other.On("well_known", func(q *hearthtest.Request) hearthtest.Reply {
			return hearthtest.Reply{Write: func(w http.ResponseWriter) {
				w.Header().Set("Location", fmt.Sprintf("https://%s/.well-known/matrix/server?%d", other.Name, redirects.Add(1)))
				w.WriteHeader(http.StatusFound)
			}}
		})
		other.On("profile", loop)
		s.alice.Do("GET", path("profile", other.User("x")), nil)
		s.alice.Do("GET", path("profile", other.User("x")), nil)
		if n := redirects.Load(); n > 30 {
			s.t.Errorf("%d redirects were followed", n)
		}
		same := func(q *hearthtest.Request) hearthtest.Reply {
			return hearthtest.Reply{Write: func(w http.ResponseWriter) {
				redirects.Add(1)
				w.Header().Set("Location", q.URL().String())
				w.WriteHeader(http.StatusTemporaryRedirect)
			}}
		}
		s.mallory.On("download", same)
		s.mallory.On("old_download", same)
		redirects.Store(0)
		if r := s.alice.Download(id.MXC{Server: s.mallory.Name, MediaID: "loop"}); r.Status == 200 || r.Status == 500 {
			s.t.Errorf("the file is %d %s", r.Status, r.Body)
		}
		if n := redirects.Load(); n > 30 {
			s.t.Errorf("%d redirects of a file were followed", n)
		}
	},
	"keys that are a lie": func(s *siege) {
		liar := s.net.RemoteIn(s.t)
		other := liar.CreateRoom(liar.User("x"), "10")
		document := liar.KeyDocument(time.Now().Add(time.Hour))
		for name, body := range map[string]any{
			"of another server": s.mallory.SignObject(s.mallory.KeyDocument(time.Now().Add(time.Hour))),
			"not signed":        document,
			"nonsense":          `{"verify_keys":7}`,
			"in another name":   s.mallory.SignObject(document),
			"nested":            nested(10_000),
		} {
			liar.On("keys", func(*hearthtest.Request) hearthtest.Reply { return hearthtest.OK(body) })
			r := liar.Do("PUT", s.a.Name, "v1/send/"+name[:2], liar.Transaction([]*hearthtest.PDU{other.State("m.room.join_rules", "")}))
			if r.Status != 401 {
				s.t.Errorf("%s: %d %s", name, r.Status, r.Body)
			}
		}
	},
}
