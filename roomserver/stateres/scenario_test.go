package stateres

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// scenario is a room in which states meet that people have thought about. want is the winners for the keys that are in conflict; "" if the
// key is to be gone.
type scenario struct {
	name     string
	versions []gomatrixserverlib.RoomVersion
	play     func(w *world) (states []state)
	want     map[storage.StateKey]id.EventID
}

var (
	levelsKey = storage.StateKey{Type: spec.MRoomPowerLevels}
	rulesKey  = storage.StateKey{Type: spec.MRoomJoinRules}
	topicKey  = storage.StateKey{Type: "m.room.topic"}
)

func memberKey(u id.UserID) storage.StateKey {
	return storage.StateKey{Type: spec.MRoomMember, Key: string(u)}
}

const evelyn = id.UserID("@evelyn:e")

// levels sends power levels: alice's, where she needs any, and others'.
func (w *world) levels(name id.EventID, by id.UserID, others map[id.UserID]int, prev ...id.EventID) id.EventID {
	w.Helper()
	users := fields{}
	for u, l := range others {
		users[string(u)] = l
	}
	if !w.version.PrivilegedCreators() {
		users[string(alice)] = 100
	}
	return w.must(draft{id: name, typ: spec.MRoomPowerLevels, key: text(""), sender: by, content: fields{
		"users": users, "events": fields{"m.room.power_levels": 50},
	}, prev: prev})
}

func (w *world) topic(name id.EventID, by id.UserID, prev ...id.EventID) id.EventID {
	w.Helper()
	return w.must(draft{id: name, typ: "m.room.topic", key: text(""), sender: by, content: fields{"topic": name}, prev: prev})
}

func (w *world) membership(name id.EventID, by, of id.UserID, membership string, prev ...id.EventID) id.EventID {
	w.Helper()
	return w.must(draft{
		id: name, typ: spec.MRoomMember, key: text(string(of)), sender: by, content: fields{"membership": membership}, prev: prev,
	})
}

func (w *world) rule(name id.EventID, by id.UserID, rule string, prev ...id.EventID) id.EventID {
	w.Helper()
	return w.must(draft{id: name, typ: spec.MRoomJoinRules, key: text(""), sender: by, content: fields{"join_rule": rule}, prev: prev})
}

// start is a public room of alice's with bob, carol and zara in it.
func (w *world) start() id.EventID {
	w.Helper()
	last := w.begin(nil)
	for _, u := range []id.UserID{bob, carol, zara} {
		last = w.join(u, last)
	}
	return last
}

// after is the states after events.
func (w *world) states(events ...id.EventID) []state {
	var out []state
	for _, e := range events {
		out = append(out, w.after[e])
	}
	return out
}

func with(s state, changes state) state {
	out := state{}
	for k, e := range s {
		out[k] = e
	}
	for k, e := range changes {
		if out[k] = e; e == "" {
			delete(out, k)
		}
	}
	return out
}

var v2Family = []gomatrixserverlib.RoomVersion{"2", "3", "6", "9", "10", "11", "12"}

func scenarios() []scenario {
	half := map[id.UserID]int{bob: 50}
	return []scenario{{
		name: "a ban beats what the banned did meanwhile", versions: v2Family,
		play: func(w *world) []state {
			pa := w.levels("$PA", alice, half, w.start())
			mb := w.membership("$MB", alice, bob, "ban", w.membership("$MA", alice, alice, "join", pa))
			return w.states(mb, w.levels("$PB", bob, half, pa))
		},
		want: state{levelsKey: "$PA", memberKey(alice): "$MA", memberKey(bob): "$MB"},
	}, {
		name: "nobody slips through a door that is being closed", versions: v2Family,
		play: func(w *world) []state {
			s := w.start()
			return w.states(w.rule("$JR", alice, "private", s), w.membership("$ME", evelyn, evelyn, "join", s))
		},
		want: state{rulesKey: "$JR", memberKey(evelyn): ""},
	}, {
		name: "newer levels win over those that they follow", versions: v2Family,
		play: func(w *world) []state {
			pa := w.levels("$PA", alice, half, w.start())
			pb := w.levels("$PB", bob, map[id.UserID]int{bob: 50, carol: 50}, pa)
			return w.states(w.levels("$PC", carol, map[id.UserID]int{bob: 50}, pb), pa)
		},
		want: state{levelsKey: "$PC"},
	}, {
		name: "levels by who has more power come first, and topics under them count", versions: v2Family,
		play: func(w *world) []state {
			pa1 := w.levels("$PA1", alice, half, w.topic("$T1", alice, w.start()))
			pa2 := w.levels("$PA2", alice, map[id.UserID]int{bob: 0}, w.topic("$T2", alice, pa1))
			return w.states(pa2, w.topic("$T3", bob, w.levels("$PB", bob, half, pa1)))
		},
		want: state{levelsKey: "$PA2", topicKey: "$T2"},
	}, {
		name: "the topic of a banned user goes where it is in conflict", versions: v2Family,
		play: func(w *world) []state {
			t1 := w.topic("$T1", alice, w.start())
			t2 := w.topic("$T2", bob, w.levels("$PA", alice, half, t1))
			return w.states(w.membership("$MB", alice, bob, "ban", t2), t1)
		},
		want: state{topicKey: "$T1", memberKey(bob): "$MB", levelsKey: "$PA"},
	}, {
		name: "a topic after a merge stands", versions: v2Family,
		play: func(w *world) []state {
			pa1 := w.levels("$PA1", alice, half, w.topic("$T1", alice, w.start()))
			pa2 := w.levels("$PA2", alice, map[id.UserID]int{bob: 0}, w.topic("$T2", alice, pa1))
			t3 := w.topic("$T3", bob, w.levels("$PB", bob, half, pa1))
			mz := w.must(draft{id: "$MZ", typ: "m.room.message", sender: zara, content: fields{}, prev: []id.EventID{pa2, t3}})
			return w.states(w.topic("$T4", alice, mz), t3)
		},
		want: state{levelsKey: "$PA2", topicKey: "$T4"},
	}, {
		name: "of two topics the one under later levels of the mainline wins", versions: v2Family,
		play: func(w *world) []state {
			pa1 := w.levels("$PA1", alice, half, w.topic("$T1", alice, w.start()))
			t4 := w.topic("$T4", alice, w.levels("$PB", alice, half, pa1))
			t3 := w.topic("$T3", bob, w.levels("$PA2", alice, half, w.topic("$T2", alice, pa1)))
			return w.states(t3, t4)
		},
		want: state{levelsKey: "$PA2", topicKey: "$T3"},
	}, {
		// MSC4297, problem A: the first algorithm with power events forgets the join rule.
		name: "a join rule by who has left since is lost", versions: []gomatrixserverlib.RoomVersion{"2", "11"},
		play: problemA, want: state{rulesKey: ""},
	}, {
		name: "a join rule by who has left since is kept", versions: []gomatrixserverlib.RoomVersion{"12"},
		play: problemA, want: state{rulesKey: "$invite"},
	}, {
		// MSC4297, problem B.
		name: "levels go back to what was before those in between", versions: []gomatrixserverlib.RoomVersion{"2", "11"},
		play: problemB, want: state{levelsKey: "$PL1"},
	}, {
		name: "levels in between are played again", versions: []gomatrixserverlib.RoomVersion{"12"},
		play: problemB, want: state{levelsKey: "$PL3"},
	}, {
		name: "an event that was rejected stays out", versions: v2Family,
		play: func(w *world) []state {
			pa1 := w.levels("$PA1", alice, half, w.start())
			pa2 := w.levels("$PA2", alice, map[id.UserID]int{bob: 0}, pa1)
			// Its auth events allow it, and so does the state that it is found in, but not the state before it.
			e, ok := w.send(draft{
				id: "$bad", typ: "m.room.topic", key: text(""), sender: bob, content: fields{}, prev: []id.EventID{pa2}, before: w.after[pa1],
			})
			if ok {
				w.Fatal("bob may set a topic")
			}
			return []state{w.after[pa1], with(w.after[pa1], state{topicKey: e})}
		},
		want: state{topicKey: ""},
	}, {
		name: "a rejected event allows nothing", versions: v2Family,
		play: func(w *world) []state {
			s := w.start()
			if _, ok := w.send(draft{id: "$bad", typ: spec.MRoomPowerLevels, key: text(""), sender: zara, content: fields{
				"users": fields{string(zara): 100},
			}, prev: []id.EventID{s}}); ok {
				w.Fatal("zara may set levels")
			}
			// What another server says the state is: zara's topic is allowed by its auth events alone.
			w.put(draft{
				id: "$T", typ: "m.room.topic", key: text(""), sender: zara, content: fields{}, prev: []id.EventID{"$bad"}, ts: 50, depth: 50,
				auth: append([]id.EventID{"$bad", w.after[s][memberKey(zara)]}, w.authOfCreate()...),
			})
			without := with(w.after[s], state{levelsKey: ""})
			return []state{without, with(without, state{topicKey: "$T"})}
		},
		want: state{topicKey: "", levelsKey: ""},
	}, {
		name: "a state that lacks something is in conflict with one that has it", versions: v2Family,
		play: func(w *world) []state {
			s := w.start()
			return []state{w.after[s], w.after[w.topic("$T", alice, s)]}
		},
		want: state{topicKey: "$T"},
	}, {
		name: "the room's beginning survives a state that has nothing", versions: v2Family,
		play: func(w *world) []state {
			return []state{w.after[w.start()], {}}
		},
		want: state{levelsKey: "$0002:a", rulesKey: "$0003:a", memberKey(zara): "$0006:a", {Type: spec.MRoomCreate}: "create"},
	}, {
		name: "auth events that are missing lead nowhere", versions: v2Family,
		play: func(w *world) []state {
			s := w.start()
			t1, t2 := w.topic("$T1", alice, s), w.topic("$T2", alice, s)
			delete(w.pdus, w.after[s][memberKey(bob)])
			delete(w.pdus, w.after[s][rulesKey])
			return w.states(t1, t2)
		},
		want: state{topicKey: "$T2"},
	}, {
		name: "version 1: the deepest topic that is allowed wins", versions: []gomatrixserverlib.RoomVersion{"1"},
		play: func(w *world) []state {
			pa := w.levels("$PA", alice, half, w.start())
			t1 := w.topic("$T1", alice, pa)
			return w.states(w.topic("$T3", bob, w.topic("$T2", bob, pa)), w.membership("$MB", alice, bob, "ban", t1))
		},
		want: state{topicKey: "$T1", memberKey(bob): "$MB"},
	}, {
		name: "version 1: where no topic is allowed the one least deep wins", versions: []gomatrixserverlib.RoomVersion{"1"},
		play: func(w *world) []state {
			pa := w.levels("$PA", alice, half, w.start())
			t1, t2 := w.topic("$T1", bob, pa), w.topic("$T3", bob, w.topic("$T2", bob, pa))
			return w.states(t2, w.membership("$MB", alice, bob, "ban", t1))
		},
		want: state{topicKey: "$T1", memberKey(bob): "$MB"},
	}, {
		name: "version 1: a state that lacks something is in no conflict", versions: []gomatrixserverlib.RoomVersion{"1"},
		play: func(w *world) []state {
			s := w.start()
			return w.states(w.topic("$T", alice, s), w.membership("$ME", evelyn, evelyn, "join", s))
		},
		want: state{topicKey: "$T", memberKey(evelyn): "$ME"},
	}, {
		name: "version 1: levels follow one another as far as they are allowed", versions: []gomatrixserverlib.RoomVersion{"1"},
		play: func(w *world) []state {
			// As recorded in a room with two servers: who got 100 cannot take it from others who have it.
			pa := w.levels("$PA", alice, map[id.UserID]int{bob: 100}, w.start())
			w.put(draft{
				id: "$PB", typ: spec.MRoomPowerLevels, key: text(""), sender: bob, content: fields{"users": fields{string(bob): 100}}, ts: 60, depth: 60,
				prev: []id.EventID{pa}, auth: []id.EventID{w.createID(), pa, w.after[pa][memberKey(bob)]},
			})
			return []state{w.after[pa], with(w.after[pa], state{levelsKey: "$PB"})}
		},
		want: state{levelsKey: "$PA"},
	}, {
		name: "version 1: of events equally deep the greater hash comes first", versions: []gomatrixserverlib.RoomVersion{"1"},
		play: func(w *world) []state {
			s := w.start()
			return w.states(w.topic("$A", alice, s), w.topic("$B", alice, s))
		},
		want: state{topicKey: "$A"}, // 1db1… against ffc9…
	}}
}

func (w *world) authOfCreate() []id.EventID {
	if w.version.DomainlessRoomIDs() {
		return nil
	}
	return []id.EventID{w.createID()}
}

func problemA(w *world) []state {
	s := w.start()
	gone := w.membership("$gone", alice, alice, "leave", w.rule("$invite", alice, "invite", s))
	return []state{w.after[gone], with(w.after[gone], state{rulesKey: w.after[s][rulesKey]})}
}

func problemB(w *world) []state {
	pl1 := w.levels("$PL1", alice, nil, w.start())
	pl2 := w.levels("$PL2", alice, map[id.UserID]int{bob: 50}, pl1)
	pl3 := w.levels("$PL3", bob, map[id.UserID]int{bob: 50, carol: 50}, pl2)
	eve := w.membership("$eve", evelyn, evelyn, "join", pl3)
	eve2 := w.membership("$eve2", evelyn, evelyn, "join", eve)
	return []state{w.after[eve], with(w.after[eve2], state{levelsKey: pl1})}
}

func TestScenariosEndAsPeopleAgreedThatTheyShould(t *testing.T) {
	for _, s := range scenarios() {
		for _, version := range s.versions {
			t.Run(s.name+", version "+string(version), func(t *testing.T) {
				w := newWorld(t, version)
				states := s.play(w)
				got, err := Resolve(w.version, states, w)
				if err != nil {
					t.Fatal(err)
				}
				for key, want := range s.want {
					if want == "create" {
						want = w.createID()
					}
					if got[key] != want {
						t.Errorf("%v is %q, want %q", key, got[key], want)
					}
				}
				if version != "1" {
					if diff := cmp.Diff(w.referenceV2(states), got); diff != "" {
						t.Errorf("the reference says otherwise: %s", diff)
					}
				}
			})
		}
	}
}

func TestOneStateIsItsOwnResolution(t *testing.T) {
	for _, version := range []gomatrixserverlib.RoomVersion{"1", "11", "12"} {
		w := newWorld(t, version)
		s := w.after[w.start()]
		w.asked = 0
		for _, states := range [][]state{{s}, {s, with(s, nil)}} {
			got, err := Resolve(w.version, states, w)
			if diff := cmp.Diff(s, got); diff != "" || err != nil {
				t.Errorf("%v, %s", err, diff)
			}
		}
		if w.asked > 0 {
			t.Errorf("%d events were asked for", w.asked)
		}
		if none, err := Resolve(w.version, nil, w); len(none) > 0 || err != nil {
			t.Errorf("no states: %v, %v", none, err)
		}
	}
}

func TestWhatCannotBeResolvedIsAnError(t *testing.T) {
	w := newWorld(t, "2")
	s := w.after[w.start()]
	w.put(draft{id: "$loop1", typ: "m.x", key: text(""), sender: alice, content: fields{}, auth: []id.EventID{"$loop2"}})
	w.put(draft{id: "$loop2", typ: "m.x", key: text("2"), sender: alice, content: fields{}, auth: []id.EventID{"$loop1"}})
	w.put(draft{id: "$message", typ: "m.x", sender: alice, content: fields{}})
	key := storage.StateKey{Type: "m.x"}
	many := make([]state, maxStates+1)
	for i := range many {
		many[i] = state{key: id.EventID(rune('a' + i))}
	}
	for name, c := range map[string]struct {
		states []state
		want   error
	}{
		"events that lead to themselves": {[]state{s, with(s, state{key: "$loop1"})}, ErrCycle},
		"too many states":                {many, ErrTooLarge},
		"state that is missing":          {[]state{s, with(s, state{key: "$nothing"})}, storage.ErrNotFound},
		"state that is none":             {[]state{s, with(s, state{key: "$message"})}, errNoState},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Resolve(w.version, c.states, w); !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
		})
	}
}
