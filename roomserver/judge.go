package roomserver

import (
	"errors"
	"slices"

	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/pdu"
	"github.com/hearthd/hearth/roomserver/authrules"
	"github.com/hearthd/hearth/storage"
)

// errNoAuth says that an event cannot be judged, because auth events of it are not here.
var errNoAuth = errors.New("auth events are missing")

// judge applies the auth rules to an event of another server: by its auth events, by the state before it, and by the state now. why is the reason
// for which it is rejected; soft says that only the state now speaks against it.
//
// Spec: server-server-api#checks-performed-on-receipt-of-a-pdu
func (h *head) judge(e *pdu.Event, before int64) (soft bool, why, err error) {
	if len(e.PrevEventIDs()) == 0 {
		return false, merr.New(merr.Forbidden, "Only the create event comes after nothing"), nil
	}
	linear := before == h.room().State
	if linear {
		same, err := h.namesCurrentState(e)
		if err != nil {
			return false, nil, err
		}
		if same { // all three states are the same for the rules
			why, err := refused(h.auth.allowed(e))
			return false, why, err
		}
	}
	if why, err = h.byAuthEvents(e); why != nil || err != nil {
		return false, why, err
	}
	if why, err = refused(h.stateAt(before).allowed(e)); why != nil || err != nil || linear {
		return false, why, err
	}
	now, err := refused(h.auth.allowed(e))
	return now != nil, nil, err
}

// refused tells a refusal of the auth rules from a failure to apply them.
func refused(err error) (why, failure error) {
	var no *merr.Error
	if errors.As(err, &no) {
		return no, nil
	}
	return nil, err
}

// namesCurrentState reports whether the auth events of an event are exactly those that an event of ours would name now.
func (h *head) namesCurrentState(e *pdu.Event) (bool, error) {
	names := e.Auth()
	found := 0
	for _, key := range authrules.AuthTypes(h.auth.version, e.PDU) {
		a, err := h.auth.get(key)
		if err != nil {
			return false, err
		}
		if a == nil {
			continue
		}
		if !slices.Contains(names, a.id) {
			return false, nil
		}
		found++
	}
	if h.auth.version.DomainlessRoomIDs() { // its create event is among names without being named
		found++
	}
	return found == len(names) && e.Type() != spec.MRoomCreate, nil
}

// byAuthEvents applies the auth rules to an event by its own auth events. errNoAuth says that they are not all here.
func (h *head) byAuthEvents(e *pdu.Event) (why, err error) {
	if e.Type() == spec.MRoomCreate {
		if e.RoomID().String() != string(h.room().ID) {
			return merr.New(merr.Forbidden, "The event is from another room"), nil
		}
		return refused(authrules.Allowed(h.auth.version, e.PDU, authrules.NewEvents(nil)))
	}
	names := e.Auth()
	stored, err := h.tx.EventsByID(names)
	if err != nil {
		return nil, err
	}
	events := make([]authrules.Event, len(stored))
	var rejected []id.EventID
	for i, a := range stored {
		if a == nil {
			return errNoAuth, nil
		}
		if a.Room != h.room().NID {
			return merr.Newf(merr.Forbidden, "The auth event %s is from another room", a.ID), nil
		}
		if a.Status == storage.Rejected {
			rejected = append(rejected, a.ID)
		}
		got, err := h.read(a)
		if err != nil {
			return nil, err
		}
		events[i] = got.pdu
	}
	if why, err := refused(authrules.CheckAuthEvents(h.auth.version, e.PDU, events, rejected...)); why != nil || err != nil {
		return why, err
	}
	return refused(authrules.Allowed(h.auth.version, e.PDU, authrules.NewEvents(events)))
}

// reading is what an event was when it was read: a redaction changes it.
type reading struct{ nid, redactedBy int64 }

// read is toAuthEvent for an event that others name. They mostly name the same few.
func (h *head) read(e *storage.Event) (*authEvent, error) {
	key := reading{e.NID, e.RedactedBy}
	if got := h.named[key]; got != nil {
		return got, nil
	}
	got, err := toAuthEvent(e, h.auth.version)
	if err == nil {
		h.named[key] = got
	}
	return got, err
}
