package delayed

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

const (
	// maxRooms is the number of rooms that events are sent to at the same time, one after the other in each: a room's policy server may be slow.
	maxRooms = 16
	// lookahead is the number of events that are read at once.
	lookahead = 100
	// sendTime is how long one event may take to send.
	sendTime = time.Minute
	// storeRest is the time to the next try when the database fails.
	storeRest = 5 * time.Second
	// tidyEvery is the time between two rounds of forgetting events that are over, and tidyBatch how many one transaction forgets.
	tidyEvery = time.Hour
	tidyBatch = 1000
)

// look has Run look again at what is due.
func (s *Service) look() {
	select {
	case s.poke <- struct{}{}:
	default: // it has yet to look
	}
}

// Run sends events when they are due until ctx ends, those first that were due while the server was away, and returns when nothing is being sent any
// more.
func (s *Service) Run(ctx context.Context) error {
	var senders sync.WaitGroup
	defer senders.Wait()
	tidied := s.clock.Now()
	for {
		due, next, err := s.due(ctx)
		if err != nil && ctx.Err() == nil {
			s.log.Error("reading delayed events failed", slog.Any("error", err))
			next = s.now() + storeRest.Milliseconds()
		}
		for room, events := range due {
			senders.Go(func() { s.sendTo(ctx, room, events) })
		}
		if s.clock.Now().Sub(tidied) >= tidyEvery {
			s.tidy(ctx)
			tidied = s.clock.Now()
		}
		at := time.UnixMilli(next)
		if tidy := tidied.Add(tidyEvery); tidy.Before(at) {
			at = tidy
		}
		timer := s.clock.NewTimerAt(at)
		select {
		case <-s.poke:
		case <-timer.C():
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return nil
		}
	}
}

// due finds the events that are to be sent now, by room, takes these rooms, and says when the next is to be sent, or when to look again.
func (s *Service) due(ctx context.Context) (map[id.RoomID][]storage.DelayedEvent, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := make([]id.RoomID, 0, len(s.busy))
	for room := range s.busy {
		taken = append(taken, room)
	}
	var events []storage.DelayedEvent
	err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		events, err = tx.DelayedEvents(lookahead, taken)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	now := s.now()
	out := map[id.RoomID][]storage.DelayedEvent{}
	for _, d := range events {
		if d.SendAt() > now {
			return out, d.SendAt(), nil
		}
		if !s.busy[d.Room] && len(s.busy) == maxRooms {
			continue // whoever is done first looks again
		}
		s.busy[d.Room] = true
		out[d.Room] = append(out[d.Room], d)
	}
	return out, now + tidyEvery.Milliseconds(), nil
}

// sendTo sends events to a room, in their order, and gives the room back.
func (s *Service) sendTo(ctx context.Context, room id.RoomID, events []storage.DelayedEvent) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("sending a delayed event panicked", slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			s.rest(ctx)
		}
		s.mu.Lock()
		delete(s.busy, room)
		s.mu.Unlock()
		s.look()
	}()
	for _, d := range events {
		if err := s.deliver(ctx, d); err != nil {
			if ctx.Err() == nil {
				s.log.Error("sending a delayed event failed", slog.Any("error", err))
				s.rest(ctx)
			}
			return
		}
	}
}

// rest waits after a failure that is likely to come again.
func (s *Service) rest(ctx context.Context) {
	timer := s.clock.NewTimer(storeRest)
	defer timer.Stop()
	select {
	case <-timer.C():
	case <-ctx.Done():
	}
}

// deliver sends an event whose time has come, or notes why it cannot be sent. An error is this server's own.
func (s *Service) deliver(ctx context.Context, d storage.DelayedEvent) error {
	sending, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	err := s.send(sending, d)
	var refused *merr.Error
	switch {
	case err == nil || errors.Is(err, errChanged):
		return nil
	case ctx.Err() != nil: // it is sent after the next start
		return err
	case !errors.As(err, &refused) && !errors.Is(err, context.DeadlineExceeded):
		return err
	}
	s.log.Debug("a delayed event was not sent", slog.String("room", string(d.Room)), slog.Any("error", err))
	d.Finalised = s.now()
	if d.Error, err = json.Marshal(merr.From(err)); err != nil {
		return err
	}
	return s.store.Update(ctx, func(tx *storage.Tx) error {
		_, err := finalise(tx, d)
		return err
	})
}

// tidy forgets what was finalised long ago.
func (s *Service) tidy(ctx context.Context) {
	before := s.clock.Now().Add(-keptFor).UnixMilli()
	for removed := int64(tidyBatch); removed == tidyBatch; {
		err := s.store.Update(ctx, func(tx *storage.Tx) (err error) {
			removed, err = tx.ForgetDelayedEvents(before, tidyBatch)
			return err
		})
		if err != nil {
			if ctx.Err() == nil {
				s.log.Error("forgetting delayed events failed", slog.Any("error", err))
			}
			return
		}
	}
}
