package storage

import "testing"

func TestMarksSayOnlyWhatIsSure(t *testing.T) {
	m := newMarks[string](100)
	m.set("a", 110)
	m.set("b", 105)
	m.set("a", 108) // late news changes nothing
	for name, c := range map[string]struct {
		key  string
		pos  int64
		want bool
	}{
		"after its last change":                    {"a", 110, true},
		"before it":                                {"a", 109, false},
		"one that changed earlier":                 {"b", 105, true},
		"one never heard of, since the beginning":  {"c", 100, true},
		"one never heard of, before the beginning": {"c", 99, false},
	} {
		if got := m.unchanged(c.key, c.pos); got != c.want {
			t.Errorf("%s: unchanged is %t", name, got)
		}
	}
	if m.quiet(109) || !m.quiet(110) {
		t.Error("quiet is wrong about the last change of all")
	}
}

func TestMarksAreBounded(t *testing.T) {
	m := newMarks[int](0)
	const n = 5*maxMarks/2 + 1
	for i := range n {
		m.set(i, int64(i+1))
	}
	if kept := len(m.young) + len(m.old); kept > 2*maxMarks {
		t.Errorf("%d marks are kept", kept)
	}
	if m.unchanged(0, 0) {
		t.Error("the first key is called unchanged though it has changed since")
	}
	if !m.unchanged(n-1, n) || m.unchanged(n-1, n-1) {
		t.Error("the last key is not known any more")
	}
	if !m.unchanged(0, n) {
		t.Error("nothing has changed after the last change")
	}
}
