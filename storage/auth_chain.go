package storage

import (
	"cmp"
	"slices"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
)

// AuthEventIDs is the events that the event names in auth_events.
func (e *Event) AuthEventIDs() []id.EventID { return e.references("auth_events") }

// PrevEventIDs is the events that the event names in prev_events.
func (e *Event) PrevEventIDs() []id.EventID { return e.references("prev_events") }

// references reads a list of events: ids, or pairs of an id and hashes in room versions 1 and 2.
func (e *Event) references(name string) []id.EventID {
	var out []id.EventID
	gjson.GetBytes(e.JSON, name).ForEach(func(_, v gjson.Result) bool {
		if v.IsArray() {
			v = v.Get("0")
		}
		if v.Type == gjson.String {
			out = append(out, id.EventID(v.Str))
		}
		return true
	})
	return out
}

// AuthChain is the events that lead to events through auth_events, over any number of steps, oldest first. The events themselves are in it only
// where they lead to one another, and rejected events not at all. The chain is not complete where events are missing here, and where it has
// more than limit of them.
//
// Spec: server-server-api#get_matrixfederationv1event_authroomideventid
func (tx *ReadTx) AuthChain(events []*Event, limit int) (chain []*Event, complete bool, err error) {
	complete = true
	seen := map[id.EventID]bool{}
	for next := events; len(next) > 0; {
		var wanted []id.EventID
		for _, e := range next {
			references := e.AuthEventIDs()
			// The room's id stands for its create event. Spec: rooms/v12#event-format
			if create, ok := e.RoomID.CreateEvent(); ok && create != e.ID {
				references = append(references, create)
			}
			for _, r := range references {
				if !seen[r] {
					seen[r] = true
					wanted = append(wanted, r)
				}
			}
		}
		found, err := tx.EventsByID(wanted)
		if err != nil {
			return nil, false, err
		}
		next = nil
		for i, e := range found {
			switch {
			case e == nil || e.Room != events[0].Room || e.Status == Rejected:
				complete = false
			case len(chain) >= limit:
				return oldestFirst(chain), false, nil
			default:
				chain, next = append(chain, found[i]), append(next, e)
			}
		}
	}
	return oldestFirst(chain), complete, nil
}

func oldestFirst(events []*Event) []*Event {
	slices.SortFunc(events, func(a, b *Event) int { return cmp.Or(cmp.Compare(a.Depth, b.Depth), cmp.Compare(a.ID, b.ID)) })
	return events
}
