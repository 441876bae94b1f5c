package stateres

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/matrix-org/gomatrixserverlib"

	"github.com/hearthd/hearth/internal/id"
)

// goldenLine is a line of a recorded room: its version, then its events, then states that met in it and what they became.
type goldenLine struct {
	Version  gomatrixserverlib.RoomVersion `json:"version,omitempty"`
	ID       id.EventID                    `json:"id,omitempty"`
	Rejected bool                          `json:"rejected,omitempty"`
	PDU      json.RawMessage               `json:"pdu,omitempty"`
	States   [][]id.EventID                `json:"states,omitempty"`
	Resolved []id.EventID                  `json:"resolved,omitempty"`
}

// Results must stay what they are, or servers that run different releases would disagree on the state of rooms. Rooms are recorded with
// go test -run TestRecordedRooms -record, except for library.jsonl, which was recorded elsewhere.
func TestRecordedRoomsResolveAsTheyAlwaysDid(t *testing.T) {
	files, err := filepath.Glob("testdata/*.jsonl")
	if err != nil || len(files) != 3 {
		t.Fatalf("%d recorded rooms: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".jsonl"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var w *world
			lines := bufio.NewScanner(bytes.NewReader(raw))
			for lines.Buffer(nil, 1<<20); lines.Scan(); {
				var l goldenLine
				if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
					t.Fatal(err)
				}
				switch {
				case l.Version != "":
					w = newWorld(t, l.Version)
				case l.ID != "":
					pdu, err := w.version.NewEventFromTrustedJSONWithEventID(string(l.ID), l.PDU, false)
					if err != nil {
						t.Fatal(err)
					}
					w.pdus[l.ID], w.rejected[l.ID] = pdu, l.Rejected
				default:
					var states []state
					for _, ids := range l.States {
						states = append(states, w.stateOf(ids))
					}
					got, err := Resolve(w.version, states, w)
					if err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(w.stateOf(l.Resolved), got); diff != "" {
						t.Errorf("%s: %s", lines.Bytes(), diff)
					}
				}
			}
			if lines.Err() != nil {
				t.Fatal(lines.Err())
			}
		})
	}
}

func (w *world) stateOf(events []id.EventID) state {
	out := state{}
	for _, e := range events {
		out[w.keyOf(e)] = e
	}
	return out
}

var record = flag.Bool("record", false, "record rooms")

func TestRecordedRoomsAreRecorded(t *testing.T) {
	if !*record {
		return
	}
	var grown, played bytes.Buffer
	for _, version := range []gomatrixserverlib.RoomVersion{"1", "2", "6", "11", "12"} {
		w := newWorld(t, version)
		var met [][]state
		w.grow(rand.New(rand.NewPCG(4, uint64(len(version)))), 45, false, func(states []state) {
			if states = distinct(states); len(states) > 1 {
				met = append(met, states)
			}
		})
		w.write(&grown, met)
	}
	for _, s := range scenarios() {
		w := newWorld(t, s.versions[len(s.versions)-1])
		w.write(&played, [][]state{s.play(w)})
	}
	for name, b := range map[string]*bytes.Buffer{"grown": &grown, "played": &played} {
		if err := os.WriteFile("testdata/"+name+".jsonl", b.Bytes(), 0o644); err != nil { //nolint:gosec // no secret
			t.Fatal(err)
		}
	}
}

// write records a room and the states that met in it, but for those that lack events.
func (w *world) write(to io.Writer, met [][]state) {
	w.Helper()
	lines := json.NewEncoder(to)
	lines.SetEscapeHTML(false)
	put := func(l goldenLine) {
		if err := lines.Encode(l); err != nil {
			w.Fatal(err)
		}
	}
	put(goldenLine{Version: w.version.Version()})
	for _, e := range w.order {
		if pdu := w.pdus[e]; pdu != nil {
			put(goldenLine{ID: e, Rejected: w.rejected[e], PDU: pdu.JSON()})
		}
	}
	ids := func(s state) []id.EventID {
		out := []id.EventID{}
		for _, e := range s {
			out = append(out, e)
		}
		slices.Sort(out)
		return out
	}
	for _, states := range met {
		resolved, err := Resolve(w.version, states, w)
		if err != nil {
			w.Fatal(err)
		}
		l := goldenLine{Resolved: ids(resolved)}
		for _, s := range states {
			l.States = append(l.States, ids(s))
		}
		known := func(e id.EventID) bool { return w.pdus[e] != nil }
		if !slices.ContainsFunc(slices.Concat(l.States...), func(e id.EventID) bool { return !known(e) }) {
			put(l)
		}
	}
}
