package stateres

import (
	"fmt"
	"testing"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// crowd is a room with many members, each of whom has changed their profile once, and the state after that.
func (w *world) crowd(members int) (state, []id.EventID) {
	w.Helper()
	last := w.start()
	s := with(w.after[last], nil)
	basis := append([]id.EventID{s[levelsKey], s[rulesKey]}, w.authOfCreate()...)
	for i := range members {
		user := id.UserID(fmt.Sprintf("@member%d:m", i))
		for n := range 2 {
			auth := basis
			if n > 0 {
				auth = append([]id.EventID{s[memberKey(user)]}, basis...)
			}
			e := id.EventID(fmt.Sprintf("$member%d-%d", i, n))
			w.put(draft{
				id: e, typ: spec.MRoomMember, key: text(string(user)), sender: user, content: fields{"membership": "join", "displayname": "x"},
				prev: []id.EventID{last}, auth: auth, ts: int64(1000 + i), depth: int64(1000 + 2*i + n),
			})
			s[memberKey(user)], last = e, e
		}
	}
	return s, basis
}

// BenchmarkSmallConflict resolves a conflict of two topics in a room with 2,000 members, whose senders' memberships are not in the auth
// chains of the rest of the state.
func BenchmarkSmallConflict(b *testing.B) {
	for _, version := range []gomatrixserverlib.RoomVersion{"1", "11", "12"} {
		b.Run("version "+string(version), func(b *testing.B) {
			w := newWorld(b, version)
			s, basis := w.crowd(2000)
			for i, user := range []id.UserID{bob, carol} {
				w.put(draft{
					id: id.EventID(fmt.Sprint("$topic", i)), typ: "m.room.topic", key: text(""), sender: user, content: fields{}, ts: 9999, depth: 9999,
					auth: append([]id.EventID{s[memberKey(user)]}, basis...),
				})
			}
			states := []state{with(s, state{topicKey: "$topic0"}), with(s, state{topicKey: "$topic1"})}
			w.asked = 0
			for b.Loop() {
				if _, err := Resolve(w.version, states, w); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(w.asked)/float64(b.N), "events/op")
		})
	}
}

// BenchmarkTwoJoins resolves what happens most: two users join at the same time.
func BenchmarkTwoJoins(b *testing.B) {
	for _, version := range []gomatrixserverlib.RoomVersion{"1", "11", "12"} {
		b.Run("version "+string(version), func(b *testing.B) {
			w := newWorld(b, version)
			s, basis := w.crowd(2000)
			var states []state
			for i := range 2 {
				user := id.UserID(fmt.Sprintf("@new%d:n", i))
				e := id.EventID(fmt.Sprint("$new", i))
				w.put(draft{
					id: e, typ: spec.MRoomMember, key: text(string(user)), sender: user, content: fields{"membership": "join"}, ts: 9999, depth: 9999,
					auth: basis,
				})
				states = append(states, with(s, state{memberKey(user): e}))
			}
			w.asked = 0
			for b.Loop() {
				if _, err := Resolve(w.version, states, w); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(w.asked)/float64(b.N), "events/op")
		})
	}
}

// BenchmarkEverythingConflicts resolves 2,000 members that one state has and the other has not.
func BenchmarkEverythingConflicts(b *testing.B) {
	for _, version := range []gomatrixserverlib.RoomVersion{"11", "12"} {
		b.Run("version "+string(version), func(b *testing.B) {
			w := newWorld(b, version)
			empty := w.after[w.start()]
			w = newWorld(b, version)
			s, _ := w.crowd(2000)
			for b.Loop() {
				if _, err := Resolve(w.version, []state{s, empty}, w); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A hostile server can make chains of any length and form, and only events that were accepted get here. They must not cost more than they
// are long.
func TestLongChainsAreWalkedOnce(t *testing.T) {
	const length = 3000
	for name, c := range map[string]struct {
		typ     string
		content fields
		auth    func(i int) []id.EventID
	}{
		"a line of power levels": {spec.MRoomPowerLevels, fields{"users_default": 100}, func(i int) []id.EventID { return []id.EventID{link(i - 1)} }},
		"a ladder of power levels": {spec.MRoomPowerLevels, fields{"users_default": 100}, func(i int) []id.EventID {
			return []id.EventID{link(i - 1), link(i - 2), link(i - 3), link(i - 4)}
		}},
		"a bush of memberships": {spec.MRoomMember, fields{"membership": "join"}, func(i int) []id.EventID {
			return []id.EventID{link(i - 1), link(i / 2)}
		}},
	} {
		for _, version := range []gomatrixserverlib.RoomVersion{"2", "12"} {
			t.Run(name+", version "+string(version), func(t *testing.T) {
				w := newWorld(t, version)
				s := w.after[w.start()]
				key := storage.StateKey{Type: c.typ}
				basis := append([]id.EventID{s[memberKey(alice)]}, w.authOfCreate()...)
				if c.typ == spec.MRoomMember {
					key.Key = string(alice)
					basis = append([]id.EventID{s[levelsKey], s[rulesKey]}, w.authOfCreate()...)
				}
				for i := range length {
					auth := basis
					if i >= 4 {
						auth = append(c.auth(i), basis...)
					}
					w.put(draft{ // depths that are lies
						id: link(i), typ: c.typ, key: &key.Key, sender: alice, content: c.content, auth: auth, ts: int64(i), depth: int64(length - i),
					})
				}
				states := []state{with(s, state{key: link(length - 1)}), with(s, state{key: link(length - 2)}), with(s, state{key: link(7)})}
				w.asked = 0
				got, err := Resolve(w.version, states, w)
				if err != nil {
					t.Fatal(err)
				}
				if got[key] != link(length-1) {
					t.Errorf("%s wins", got[key])
				}
				if w.asked > length+20 {
					t.Errorf("%d events were asked for", w.asked)
				}
			})
		}
	}
}

func link(i int) id.EventID { return id.EventID(fmt.Sprintf("$link%d", i)) }
