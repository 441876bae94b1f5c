package syncer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/filter"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/sliding"
	"github.com/hearthd/hearth/internal/token"
)

// SlidingRequest is one request of sliding sync.
type SlidingRequest struct {
	User     id.UserID
	Device   id.DeviceID
	Pos      string // empty on a new connection
	Timeout  time.Duration
	Presence string // as in Request
	Asked    *sliding.Request
	// Experimental asks for the answer in the form of the experiments before the proposal was accepted, which clients use today.
	Experimental bool
	Admitted     func() error // as in Request
}

// Slide answers a request of sliding sync: at once on a new connection and if there is anything to say, else when something happens or the
// time is over. The error for a position that is not known, or not any more, is M_UNKNOWN_POS.
//
// Spec: MSC4186
func (s *Syncer) Slide(ctx context.Context, r SlidingRequest) ([]byte, error) {
	outer := ctx
	r.Timeout = min(r.Timeout, maxTimeout)
	if r.Presence != "" {
		_ = s.edus.Seen(ctx, r.User, r.Presence, r.Timeout) // as in Sync
	}
	var from token.Sliding
	if r.Pos != "" {
		var err error
		if from, err = token.ParseSliding(r.Pos); err != nil {
			return nil, err
		}
	}
	at, ctx, err := s.slides.enter(ctx, connectionKey{r.User, r.Device, r.Asked.Conn})
	if err != nil {
		return nil, err
	}
	defer s.slides.leave(at)
	out, err := s.slideIn(ctx, at, r, from)
	if errors.Is(err, context.Canceled) && outer.Err() == nil {
		return nil, merr.New(merr.Unknown, "Another request on the connection has come in the place of this one").WithStatus(http.StatusConflict)
	}
	return out, err
}

// slideIn is Slide in the slot of the connection.
func (s *Syncer) slideIn(ctx context.Context, at *slot, r SlidingRequest, from token.Sliding) ([]byte, error) {
	q := slidingQuery{SlidingRequest: r, from: from}
	if r.Pos == "" {
		// The connection of before is lost only when there is another: see connection.save.
		q.conn = newConnection(r.User, r.Device, r.Asked.Conn)
	} else {
		if err := s.resume(ctx, at, from); err != nil {
			return nil, err
		}
		q.conn = at.conn
	}
	if err := s.acknowledgeUpTo(ctx, q); err != nil {
		return nil, err
	}
	a, err := s.slideUntilNews(ctx, q)
	if err != nil {
		return nil, err
	}
	a.next.Conn, a.next.Seq, err = s.commit(ctx, q.conn, &change{from: q.from, rooms: a.changes, extras: a.extras})
	if err != nil {
		at.conn = nil // what is in memory may be more than what is stored
		return nil, err
	}
	device := deviceKey{r.User, r.Device, a.next.Conn}
	for _, room := range a.flushed {
		s.members.forgetRoom(device, room)
	}
	for _, m := range a.members {
		s.members.sent(device, m.room, a.next.Pos, m.user)
	}
	at.conn = q.conn
	at.conn.asked, at.conn.point, at.conn.counts, at.conn.shape, at.conn.covered = r.Asked.Digest, a.next, a.counts, a.shape, a.covered
	return append(a.next.Append(append(a.buf, `"pos":"`...)), `"}`...), nil
}

// slideUntilNews looks until there is something to say.
func (s *Syncer) slideUntilNews(ctx context.Context, q slidingQuery) (slidingAnswer, error) {
	wait := q.Pos != "" && q.Timeout > 0
	a, err := s.slideOnce(ctx, q)
	if err != nil || a.some || !wait {
		return a, err
	}
	watch := s.hub.Watch(hub.User(q.User), hub.Device(q.User, q.Device))
	defer watch.Close()
	timer := s.clock.NewTimer(q.Timeout)
	defer timer.Stop()
	for {
		if q.Admitted != nil && q.Admitted() != nil {
			return a, nil
		}
		if a, err = s.slideOnce(ctx, q); err != nil || a.some {
			return a, err
		}
		select {
		case <-watch.C():
		case <-timer.C():
			return a, nil
		case <-s.hub.Draining():
			return a, nil
		case <-ctx.Done():
			return a, ctx.Err()
		}
	}
}

// slidingQuery is a SlidingRequest with its position.
type slidingQuery struct {
	SlidingRequest
	from token.Sliding
	conn *connection
}

// inbox is the position up to which the device has got its messages.
func (q *slidingQuery) inbox() int64 {
	if x := q.Asked.Extensions.ToDevice; x != nil && x.Since != "" {
		if t, err := token.ParseSync(x.Since); err == nil {
			return t.Pos
		}
	}
	return q.from.Inbox
}

// slidingAnswer is what there is to say: an object without its last member, which is the position.
type slidingAnswer struct {
	some    bool
	next    token.Sliding
	buf     []byte
	counts  map[string]int
	shape   *shape
	covered bool
	changes map[int64]knowledge
	extras  string
	members []sentMember
	flushed []int64 // the rooms of whose members the client knows no more than it is told now
}

type sentMember struct {
	room int64
	user id.UserID
}

// acknowledgeUpTo removes the messages that a device has got, as it shows by coming with what came with them.
//
// Spec: MSC3885
func (s *Syncer) acknowledgeUpTo(ctx context.Context, q slidingQuery) error {
	inbox := q.inbox()
	if q.Asked.Extensions.ToDevice == nil || inbox == 0 || inbox > s.store.CommittedPos() {
		return nil
	}
	return s.acknowledge(ctx, query{Request: Request{User: q.User, Device: q.Device}, since: token.Sync{Pos: inbox}})
}

// slideOnce sees what there is to say to a client right now.
func (s *Syncer) slideOnce(ctx context.Context, q slidingQuery) (slidingAnswer, error) {
	if a, ok := s.still(q); ok {
		return a, nil
	}
	l := look{Syncer: s, query: query{
		Request: Request{User: q.User, Device: q.Device, Filter: &filter.Filter{}}, initial: q.Pos == "", since: q.from.Sync,
	}}
	v := &slide{look: &l, q: q, answer: slidingAnswer{extras: q.conn.extras(q.from.Seq)}}
	err := l.snapshot(ctx, v.build)
	if err != nil {
		return slidingAnswer{}, err
	}
	v.answer.some, v.answer.buf, v.answer.next.Sync = l.some, l.buf, l.next
	return v.answer, nil
}

// still is the answer without news, if it is sure without a look that there is none: the client asks the same as before, and nothing that
// concerns it has happened.
func (s *Syncer) still(q slidingQuery) (slidingAnswer, bool) {
	c := q.conn
	inbox := q.Asked.Extensions.ToDevice != nil && (q.inbox() != q.from.Inbox || q.from.Inbox < q.from.Pos) // there may be more in it
	if q.Pos == "" || c.point != q.from || c.asked != q.Asked.Digest || inbox ||
		!s.quiet(query{Request: Request{User: q.User, Device: q.Device}, since: q.from.Sync}) {
		return slidingAnswer{}, false
	}
	counts := s.store.KnownKeyCounts(q.User, q.Device)
	if q.Asked.Extensions.E2EE && counts == nil {
		return slidingAnswer{}, false
	}
	v := slide{look: &look{Syncer: s}, q: q, answer: slidingAnswer{
		counts: c.counts, shape: c.shape, covered: c.covered, extras: c.extras(q.from.Seq), next: q.from,
	}}
	v.open()
	v.buf = append(v.buf, `"rooms":{},"extensions":{`...)
	o := opened{}
	if q.Asked.Extensions.ToDevice != nil {
		v.item(&o)
		v.nextBatch(q.from.Inbox)
		v.buf = append(v.buf, '}')
	}
	if q.Asked.Extensions.E2EE {
		v.item(&o)
		v.buf = appendCounts(append(v.buf, `"e2ee":{`...), counts)
	}
	v.buf = append(v.buf, `},`...)
	v.answer.buf = v.buf
	return v.answer, true
}

// slide is one look at the database for one connection.
type slide struct {
	*look
	q      slidingQuery
	answer slidingAnswer
	places []place
	rules  map[ruleKey]rule

	somebodyTyped bool // in any room of the user's, perhaps
}

// build writes the answer.
func (v *slide) build(ctx context.Context) error {
	v.now = v.clock.Now()
	var err error
	if v.unwanted, err = v.Syncer.wishes.load(v.tx, v.User, v.next.Pos); err != nil {
		return err
	}
	if err := v.loadAccountData(); err != nil {
		return err
	}
	if err := v.arrange(); err != nil {
		return err
	}
	v.open()
	o := opened{}
	v.buf = append(v.buf, `"rooms":{`...)
	for i := range v.places {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := &v.places[i]
		start, count := len(v.buf), o.items
		v.item(&o)
		v.buf = append(gjson.AppendJSONString(v.buf, string(p.m.RoomID)), ':')
		ok, err := v.tell(p)
		if err != nil {
			return fmt.Errorf("show room %s: %w", p.m.RoomID, err)
		}
		if !ok {
			v.buf, o.items = v.buf[:start], count
		}
	}
	v.buf = append(v.buf, `},"extensions":{`...)
	v.some = v.some || o.items > 0 || v.initial
	if err := v.extensions(); err != nil {
		return err
	}
	v.buf = append(v.buf, `},`...)
	return nil
}

// open begins the answer.
func (v *slide) open() {
	v.buf = append(make([]byte, 0, 2048), `{"lists":{`...)
	o := opened{}
	for _, name := range slices.Sorted(maps.Keys(v.answer.counts)) {
		v.item(&o)
		v.buf = append(gjson.AppendJSONString(v.buf, name), `:{"count":`...)
		v.buf = append(strconv.AppendInt(v.buf, int64(v.answer.counts[name]), 10), '}')
	}
	v.buf = append(v.buf, `},`...)
}

// remember notes that the client has been told something else of a room than before.
func (v *slide) remember(p *place, t knowledge) {
	if t == p.told {
		return
	}
	if v.answer.changes == nil {
		v.answer.changes = map[int64]knowledge{}
	}
	v.answer.changes[p.m.Room] = t
}
