package stateres

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// FuzzResolve makes rooms that no server would accept, of events that name any others as their auth events and states that have any of
// them.
func FuzzResolve(f *testing.F) {
	f.Add(byte(2), []byte("a room of some events, each of which takes seven bytes and names three others"))
	f.Add(byte(12), []byte("\x00\x00\x00\x00\x00\x00\x03\x01\x00\x00\x01\x00\x00\x03\x02\x00\x00\x01\x02\x00\x03\x03\x00\x01\x01\x02\x03\x01"))
	f.Fuzz(func(t *testing.T, version byte, raw []byte) {
		const size = 7
		v := gomatrixserverlib.RoomVersion(fmt.Sprint(1 + version%12))
		n := min(len(raw)/size, 40)
		w := newWorld(t, v)
		w.put(draft{id: w.createID(), typ: spec.MRoomCreate, key: text(""), sender: alice, content: fields{"creator": alice}})
		name := func(i byte) id.EventID {
			if i == 0 {
				return w.createID()
			}
			return id.EventID(fmt.Sprint("$", i))
		}
		users := []id.UserID{alice, bob, carol}
		states := []state{{}, {}, {}}
		cycle := false
		for i := range byte(n) {
			b := raw[int(i)*size:]
			d := draft{id: name(i + 1), key: text(""), sender: users[b[1]%3], ts: int64(b[5] % 8), depth: int64(b[5])}
			switch b[0] % 6 {
			case 0, 1:
				d.typ, d.key = spec.MRoomMember, text(string(users[b[1]/3%3]))
				d.content = fields{"membership": []string{"join", "leave", "ban", "invite", "knock"}[b[0]/6%5]}
			case 2:
				d.typ, d.content = spec.MRoomPowerLevels, fields{"users": fields{string(users[b[0]/6%3]): b[1]}, "users_default": b[0] / 6}
			case 3:
				d.typ, d.content = spec.MRoomJoinRules, fields{"join_rule": []string{"public", "invite", "knock"}[b[0]/6%3]}
			case 4:
				d.typ, d.key, d.content = "m.room.topic", text([]string{"", "x"}[b[0]/6%2]), fields{}
			default:
				d.typ, d.key, d.content = spec.MRoomThirdPartyInvite, text("tok"), fields{}
			}
			for _, a := range b[2:5] {
				if a %= byte(n) + 2; a > i { // the last of these is missing
					cycle = true
				}
				d.auth = append(d.auth, name(a))
			}
			w.put(d)
			w.rejected[d.id] = b[6]&0x80 != 0
			for s := range states {
				if b[6]>>s&1 != 0 {
					states[s][w.keyOf(d.id)] = d.id
				}
			}
		}
		got, err := Resolve(w.version, states, w)
		switch {
		case cycle && errors.Is(err, ErrCycle):
			return
		case err != nil:
			t.Fatal(err)
		case w.version.StateResAlgorithm() == gomatrixserverlib.StateResV1 || len(distinct(states)) < 2:
			return
		}
		if diff := cmp.Diff(w.referenceV2(states), got); diff != "" {
			t.Error(diff)
		}
		for key, e := range got {
			if (key != storage.StateKey{Type: w.pdus[e].Type(), Key: *w.pdus[e].StateKey()}) {
				t.Errorf("%v is %s", key, e)
			}
		}
	})
}
