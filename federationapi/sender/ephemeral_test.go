package sender

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage/storagetest"
)

func TestWhatIsSaidInPassingIsCoalescedAndTypingIsNotKept(t *testing.T) {
	r := newRig(t, storagetest.Open(t))
	to := []id.ServerName{one, two}
	say := func(typ, key, content string) { r.sender.Ephemeral(to, typ, key, json.RawMessage(content)) }
	say("m.receipt", "a", `1`)
	say("m.receipt", "b", `2`)
	say("m.receipt", "a", `3`)
	r.pass(patience)
	r.sent("m.receipt3 m.receipt2", nil)
	r.alone()
	say("m.receipt", "a", `4`)
	say("m.typing", "a", `5`)
	first := r.request() // typing is urgent
	check(t, "units", "m.receipt4 m.typing5", first.units())
	say("m.presence", "a", `6`)
	say("m.typing", "a", `7`)
	first.done <- errDown
	r.clock.BlockUntilDue(time.Second)
	say("m.presence", "a", `8`)
	say("m.typing", "a", `9`)
	r.pass(time.Second)
	if q := r.sent("m.receipt4 m.presence8", nil); q.Txn == first.Txn {
		t.Error("transactions without rows have the same id")
	}
	check(t, "left", 0, r.left(two))
}

func TestWhatIsSaidInPassingIsBounded(t *testing.T) {
	var p passing
	for i := range 2 * maxPassing {
		p.put(parcel{"m.receipt", fmt.Sprint(i), nil}, maxPassing)
	}
	check(t, "kept", maxPassing, p.len())
	list := p.take(100)
	check(t, "first", fmt.Sprint(maxPassing), list[0].key)
	p.put(parcel{"m.receipt", list[1].key, json.RawMessage("new")}, maxPassing)
	p.back(list)
	check(t, "kept", maxPassing, p.len())
	check(t, "what is newer", "new", string(p.parcels[passingKey{"m.receipt", list[1].key}]))
	p.rest()
	check(t, "kept at rest", maxPassingResting, p.len())
	p.take(maxPassing)
	check(t, "empty", passing{}, p, cmp.AllowUnexported(passing{}))
}

func TestWhatIsSaidInPassingIsNoPartOfARepetition(t *testing.T) {
	r := newRig(t, storagetest.Open(t))
	r.say("a", two)
	first := r.request()
	r.sender.Ephemeral([]id.ServerName{two}, "m.receipt", "", json.RawMessage(`1`))
	first.done <- errDown
	r.pass(time.Second)
	check(t, "id", first.Txn, r.sent("a", nil).Txn)
	r.sent("m.receipt1", nil)
	check(t, "left", 0, r.left(two))
}
