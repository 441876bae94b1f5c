package clientapi

import (
	"context"
	"time"

	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage"
)

// Bounds of what one request of a client has fetched of a room's history.
const (
	minFetch     = 50 // events: a few more than asked for cost little, and save the next request
	fetchTimeout = 30 * time.Second
)

// reached is how far a read of history came.
type reached struct {
	gap   *storage.Gap // that it stopped at, nil for none
	shown int          // events
}

// acrossGap reads history, and where it comes to a gap before it is full, has some of the gap fetched from other servers and reads again: once,
// however much is missing, for the client comes back for more. A gap that stays as it is ends the page; a page that would be empty for it is an
// error, so that clients neither take it for the end of the history nor ask again at once. Only where other servers were asked and none of them
// has anything does the history behind the gap follow, or nobody could ever see that.
func (a *API) acrossGap(ctx context.Context, r *web.Request, limit int, read func(past int64) (reached, error)) error {
	got, err := read(0)
	if err != nil || got.gap == nil {
		return err
	}
	room, err := r.RoomID("roomID")
	if err != nil {
		return err
	}
	fetching, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	more, err := a.rooms.Backfill(fetching, room, got.gap.Floor+1, max(limit, minFetch))
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && got.shown > 0:
		return nil // what is here is good to be shown
	case err != nil:
		return merr.New(merr.Unknown, "What was said before cannot be fetched from other servers at the moment").WithStatus(502)
	case more:
		_, err = read(0)
	default:
		_, err = read(got.gap.Floor)
	}
	return err
}
