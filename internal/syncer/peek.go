package syncer

import (
	"context"
	"math"
	"time"

	"github.com/hearthd/hearth/internal/clientevent"
	"github.com/hearthd/hearth/internal/history"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/token"
	"github.com/hearthd/hearth/storage"
)

// Peek is a request for what happens in one room, of somebody who need not be in it.
type Peek struct {
	clientevent.Viewer
	Room    id.RoomID
	From    string // a token of this server; empty: from now on
	Timeout time.Duration
	Limit   int
}

// Peeked is what has happened.
type Peeked struct {
	Start, End token.Room
	Chunk      []byte // a JSON array of events
}

// Peek answers at once if something has happened, else when it does or the time is over. Errors: M_FORBIDDEN for who may not see the room,
// M_INVALID_PARAM for a token that is not ours.
//
// Spec: client-server-api#peeking_get_matrixclientv3events
func (s *Syncer) Peek(ctx context.Context, r Peek) (Peeked, error) {
	from := token.Room(math.MaxInt64)
	if r.From != "" {
		var err error
		if from, err = token.ParseRoom(r.From); err != nil {
			return Peeked{}, err
		}
	}
	watch := s.hub.Watch(hub.Room(r.Room))
	defer watch.Close()
	timer := s.clock.NewTimer(min(r.Timeout, maxTimeout))
	defer timer.Stop()
	for {
		out, some, err := s.peek(ctx, r, from)
		if err != nil || some || r.Timeout == 0 {
			return out, err
		}
		from = out.Start
		select {
		case <-watch.C():
		case <-timer.C():
			return out, nil
		case <-s.hub.Draining():
			return out, nil
		case <-ctx.Done():
			return Peeked{}, ctx.Err()
		}
	}
}

// peek looks at what has happened after a point.
func (s *Syncer) peek(ctx context.Context, r Peek, from token.Room) (out Peeked, some bool, err error) {
	err = s.store.View(ctx, func(tx *storage.ReadTx) error {
		room, err := history.Open(tx, r.Room, r.User)
		if err != nil {
			return err
		}
		now, err := tx.Position()
		if err != nil {
			return err
		}
		out.Start = min(from, token.Room(now))
		walk := history.Walk{From: int64(out.Start), To: now, Limit: r.Limit}
		page, err := room.Walk(walk)
		if err == nil && page.Gap != nil && len(page.Events) == 0 {
			walk.Past = page.Gap.Floor // what is missing is for /messages to fetch
			page, err = room.Walk(walk)
		}
		if err != nil {
			return err
		}
		if out.End = token.Room(now); page.More {
			out.End = token.Room(page.End)
		}
		batch, err := clientevent.Prepare(tx, r.Viewer, page.Events, room.Options(s.clock.Now()))
		if err != nil {
			return err
		}
		out.Chunk = append(out.Chunk, '[')
		for i, ev := range page.Events {
			if i > 0 {
				out.Chunk = append(out.Chunk, ',')
			}
			out.Chunk = batch.Append(out.Chunk, ev)
		}
		out.Chunk = append(out.Chunk, ']')
		some = len(page.Events) > 0 || page.More
		return nil
	})
	return out, some, err
}
