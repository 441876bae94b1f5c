package syncer

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/storage"
)

// receiptEvent appends one m.receipt event and returns the receipts that had no place in it: a user can have only one receipt of a type for
// an event in it, but has others for the same event in threads.
//
// Spec: client-server-api#mreceipt
func (l *look) receiptEvent(receipts []storage.Receipt) (rest []storage.Receipt) {
	receipts = slices.Clone(receipts)
	slices.SortStableFunc(receipts, func(a, b storage.Receipt) int {
		return cmp.Or(cmp.Compare(a.Event, b.Event), cmp.Compare(a.Type, b.Type), cmp.Compare(a.User, b.User), cmp.Compare(a.Thread, b.Thread))
	})
	l.buf = append(l.buf, `{"content":{`...)
	var last storage.Receipt
	for i, r := range receipts {
		sameEvent := i > 0 && r.Event == last.Event
		sameType := sameEvent && r.Type == last.Type
		switch {
		case sameType && r.User == last.User:
			rest = append(rest, r)
			continue
		case sameType:
			l.buf = append(l.buf, ',')
		case sameEvent:
			l.buf = append(l.buf, `},`...)
		case i > 0:
			l.buf = append(l.buf, `}},`...)
		}
		if !sameEvent {
			l.buf = append(gjson.AppendJSONString(l.buf, string(r.Event)), `:{`...)
		}
		if !sameType {
			l.buf = append(gjson.AppendJSONString(l.buf, r.Type), `:{`...)
		}
		l.buf = append(gjson.AppendJSONString(l.buf, string(r.User)), `:{"ts":`...)
		l.buf = strconv.AppendInt(l.buf, r.TS, 10)
		if r.Thread != "" {
			l.buf = append(l.buf, `,"thread_id":`...)
			l.buf = gjson.AppendJSONString(l.buf, r.Thread)
		}
		l.buf = append(l.buf, '}')
		last = r
	}
	l.buf = append(l.buf, `}}},"type":"m.receipt"}`...)
	return rest
}
