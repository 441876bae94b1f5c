package roomserver

import (
	"context"
	"log/slog"
	"time"

	"github.com/hearthd/hearth/internal/fedtypes"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

const (
	momentTries   = 3 // servers that are asked
	momentTimeout = 10 * time.Second
	// momentReach is how often history is fetched to have an event here that another server has found.
	momentReach = 5
)

// EventNear asks other servers for the event of a room that is closest to a time, in ms since the epoch: the first at or after it, or the last at or
// before it. It is for those who have looked here: what is not closer than known counts as nothing, known being the zero value where there is
// nothing here. The history is fetched as far as the event, if it is not too far away, so that clients can see it in its place. Where the servers
// have nothing closer, or none can be asked, the error is storage.ErrNotFound.
//
// Spec: server-server-api#get_matrixfederationv1timestamp_to_eventroomid
func (s *Server) EventNear(ctx context.Context, room id.RoomID, ts int64, back bool, known fedtypes.EventMoment) (fedtypes.EventMoment, error) {
	var servers []id.ServerName
	err := s.store.View(ctx, func(tx *storage.ReadTx) error {
		row, err := tx.Room(room)
		if err != nil {
			return err
		}
		servers, err = s.likely(tx, row)
		return err
	})
	if err != nil {
		return fedtypes.EventMoment{}, err
	}
	for _, server := range servers[:min(len(servers), momentTries)] {
		asking, cancel := context.WithTimeout(ctx, momentTimeout)
		found, err := s.peers.Remote.TimestampToEvent(asking, server, room, ts, back)
		cancel()
		switch {
		case ctx.Err() != nil:
			return fedtypes.EventMoment{}, ctx.Err()
		case err != nil:
			s.log.Debug("no event near a time", slog.String("room", string(room)), slog.String("from", string(server)), slog.Any("error", err))
		case closer(found, known, ts, back):
			return found, s.reach(ctx, room, found.ID)
		}
	}
	return fedtypes.EventMoment{}, storage.ErrNotFound
}

// closer reports whether an event is in the right direction from a time and nearer to it than another one, if there is one.
func closer(found, known fedtypes.EventMoment, ts int64, back bool) bool {
	if back {
		return found.TS <= ts && (known.ID == "" || found.TS > known.TS)
	}
	return found.TS >= ts && (known.ID == "" || found.TS < known.TS)
}

// reach fetches history until an event is here, or enough was fetched.
func (s *Server) reach(ctx context.Context, room id.RoomID, event id.EventID) error {
	for range momentReach {
		here := false
		var below int64
		err := s.store.View(ctx, func(tx *storage.ReadTx) error {
			ev, err := tx.Event(event)
			if err == nil && ev.Pos != 0 {
				here = true
				return nil
			}
			if err != nil && !isNotFound(err) {
				return err
			}
			nid, err := tx.RoomNID(room)
			if err != nil {
				return err
			}
			gaps, err := tx.Gaps(nid)
			if len(gaps) > 0 {
				below = gaps[0].Floor + 1
			}
			return err
		})
		if err != nil || here || below == 0 {
			return err
		}
		if more, err := s.Backfill(ctx, room, below, maxBackfill); err != nil || !more {
			return nil //nolint:nilerr // it was worth a try: the event is named all the same
		}
	}
	return nil
}
