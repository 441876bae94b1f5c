package sender

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"strconv"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/hearthd/hearth/internal/canonjson"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// What a transaction may hold, and the size at which it is closed: above it, it has at most one more event.
//
// Spec: server-server-api#transactions
const (
	maxPDUs  = 50
	maxEDUs  = 100
	fullBody = 1 << 20
)

// transaction is what is sent to a server at once.
type transaction struct {
	id      string
	body    json.RawMessage
	pdus    int
	edus    int
	rows    int   // of the outbox
	last    int64 // the position of the last of them; 0: none
	oldest  int64 // origin_server_ts of the first event; 0: none
	more    bool  // there are, or may be, more rows at hand
	passing []parcel
}

func (t *transaction) empty() bool { return t.pdus+t.edus == 0 }

// next makes the next transaction for a server, nil if nothing waits for it. A transaction that has been tried is made again from the same
// rows: its id says what they are, so that after a crash too, or if only the answer was lost, the other server knows it again.
func (s *Sender) next(ctx context.Context, d *destination) (*transaction, error) {
	upTo, limit := d.repeat, maxEDUs
	if upTo == 0 {
		upTo = math.MaxInt64
	}
	if d.single {
		limit = 1
	}
	s.mu.Lock()
	d.rung = false
	s.mu.Unlock()
	var rows []storage.Outgoing
	var events []*storage.Event
	after := s.sentUpTo(d.name)
	err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		if rows, err = tx.Outbox(d.name, after, upTo, limit); err != nil {
			return err
		}
		if len(rows) == 0 && d.repeat != 0 { // they are sent, or gone
			d.repeat, d.single = 0, false
			if rows, err = tx.Outbox(d.name, after, math.MaxInt64, maxEDUs); err != nil {
				return err
			}
		}
		nids := make([]int64, 0, len(rows))
		for _, r := range rows {
			if r.Event != 0 && len(nids) < maxPDUs {
				nids = append(nids, r.Event)
			}
		}
		events, err = tx.EventsAt(nids)
		return err
	})
	if err != nil {
		return nil, err
	}
	w := newWriter()
	for _, r := range rows {
		if !w.add(r, &events) {
			break
		}
	}
	t := &w.transaction
	t.more = t.rows < len(rows) || len(rows) == maxEDUs || d.repeat != 0
	if d.repeat == 0 {
		// Not with what is repeated: the other server may have had the rest of it, and would not look at this.
		s.mu.Lock()
		t.passing = d.passing.take(maxEDUs - t.edus)
		t.more = t.more || d.passing.len() > 0
		s.mu.Unlock()
		for _, p := range t.passing {
			w.edu(p.typ, p.content)
		}
	}
	if t.rows == 0 && len(t.passing) == 0 {
		return nil, nil
	}
	if t.rows == 0 {
		t.id = s.run + "-" + strconv.FormatInt(s.count.Add(1), 36)
	} else {
		t.id = base64.RawURLEncoding.EncodeToString(w.hash.Sum(nil)[:18])
	}
	t.body = w.close(s.name, s.clock.Now().UnixMilli())
	return t, nil
}

// writer puts a transaction together from JSON as it is stored. The body is canonical where what it is made of is.
type writer struct {
	transaction
	pduJSON, eduJSON []byte
	hash             interface {
		Write(p []byte) (int, error)
		Sum(b []byte) []byte
	}
}

func newWriter() *writer { return &writer{hash: sha256.New()} }

// add takes a row, with the first of the events where it stands for one, unless the transaction is full.
func (w *writer) add(r storage.Outgoing, events *[]*storage.Event) bool {
	if w.rows > 0 && len(w.pduJSON)+len(w.eduJSON) >= fullBody {
		return false
	}
	switch {
	case r.Event == 0 && w.edus == maxEDUs, r.Event != 0 && w.pdus == maxPDUs, r.Event != 0 && len(*events) == 0:
		return false
	case r.Event == 0:
		w.sign(r.Pos, r.Type, r.Content)
		w.edu(r.Type, r.Content)
	default:
		if e := (*events)[0]; e != nil {
			w.sign(r.Pos, string(e.ID), nil)
			w.pdu(e)
		}
		*events = (*events)[1:]
	}
	w.rows++
	w.last = r.Pos
	return true
}

// sign makes what a row says a part of the id: equal ids have equal rows, even after the database was brought back from a backup and counts
// its positions anew.
func (w *writer) sign(pos int64, name string, content []byte) {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 64), uint64(pos))
	b = append(append(b, name...), 0)
	w.hash.Write(b)
	w.hash.Write(content)
}

func (w *writer) pdu(e *storage.Event) {
	raw := e.JSON
	if gjson.GetBytes(raw, "unsigned").Exists() {
		// Spec: server-server-api#pdus: what was added for our clients is not for others.
		if clean, err := sjson.DeleteBytes(raw, "unsigned"); err == nil {
			raw = clean
		}
	}
	if w.pdus > 0 {
		w.pduJSON = append(w.pduJSON, ',')
	} else {
		w.oldest = e.TS
	}
	w.pduJSON = append(w.pduJSON, raw...)
	w.pdus++
}

func (w *writer) edu(typ string, content json.RawMessage) {
	if w.edus > 0 {
		w.eduJSON = append(w.eduJSON, ',')
	}
	w.eduJSON = append(append(w.eduJSON, `{"content":`...), content...)
	w.eduJSON = append(canonjson.AppendString(append(w.eduJSON, `,"edu_type":`...), typ), '}')
	w.edus++
}

func (w *writer) close(origin id.ServerName, now int64) json.RawMessage {
	b := make([]byte, 0, len(w.pduJSON)+len(w.eduJSON)+len(origin)+80)
	b = append(append(b, `{"edus":[`...), w.eduJSON...)
	b = canonjson.AppendString(append(b, `],"origin":`...), string(origin))
	b = strconv.AppendInt(append(b, `,"origin_server_ts":`...), now, 10)
	b = append(append(b, `,"pdus":[`...), w.pduJSON...)
	return append(b, `]}`...)
}
