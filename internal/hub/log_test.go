package hub

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRung(t *testing.T) {
	h := NewAt(10, 100, 1<<20)
	a, b := Room("!a:one"), Room("!b:one")
	h.Ring(12, a, User("@u:one"), Device("@u:one", "D"))
	h.Ring(11, b) // committed before, rung after
	h.Ring(13, a)
	names := func(keys []Key, ok bool) string {
		out := ""
		for _, k := range keys {
			out += k.name[1:2]
		}
		if !ok {
			out += "?"
		}
		return out
	}
	for pos, want := range map[int64]string{13: "", 12: "a", 11: "aa", 10: "aba", 9: "?"} {
		if d := cmp.Diff(want, names(h.Rung(pos, 3))); d != "" {
			t.Errorf("since %d: %s", pos, d)
		}
	}
	if d := cmp.Diff("?", names(h.Rung(10, 2))); d != "" {
		t.Errorf("more than were asked for: %s", d)
	}
	h.RingEphemeral(h.NextEphemeral(), nil, b)
	if d := cmp.Diff("b", names(h.RungEphemeral(100, 3))); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff("?", names(h.RungEphemeral(1000, 3))); d != "" {
		t.Errorf("a counter from the future: %s", d)
	}
	for i := range int64(logSize) {
		h.Ring(14+i, b)
	}
	if _, ok := h.Rung(12, logSize); ok {
		t.Error("what was forgotten is said to be all")
	}
	if keys, ok := h.Rung(13, logSize); !ok || len(keys) != logSize {
		t.Errorf("%d keys, %v", len(keys), ok)
	}
}
