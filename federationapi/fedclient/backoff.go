package fedclient

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

const (
	backoffFirst = 5 * time.Second
	// backoffMax is also how long two servers that lost each other may not notice that they are back.
	backoffMax = time.Hour
	// backoffTurns is after how many failures the wait grows no more.
	backoffTurns = 10
)

// backoff remembers which servers failed and leaves them alone: after each failure twice as long, give or take a quarter, so that not all who
// miss a server come back to it at once.
type backoff struct {
	store *storage.Store // nil: nothing is kept
	clock clock.Clock
	log   *slog.Logger

	mu    sync.Mutex
	known map[id.ServerName]standing
}

// standing is what is known of a server; without failures it is known to be well.
type standing struct {
	storage.Destination
	heardAt int64 // when it last showed that it lives, in ms since the epoch
}

func newBackoff(store *storage.Store, c clock.Clock, log *slog.Logger) *backoff {
	return &backoff{store: store, clock: c, log: log, known: map[id.ServerName]standing{}}
}

// get returns what is known of a server.
func (b *backoff) get(ctx context.Context, server id.ServerName) standing {
	b.mu.Lock()
	d, ok := b.known[server]
	b.mu.Unlock()
	if ok {
		return d
	}
	if b.store != nil {
		err := b.store.View(ctx, func(tx *storage.ReadTx) (err error) {
			d.Destination, err = tx.Destination(server)
			return err
		})
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return standing{Destination: storage.Destination{Server: server}} // it will be read again
		}
	}
	d.Server = server
	b.mu.Lock()
	defer b.mu.Unlock()
	if now, ok := b.known[server]; ok {
		return now
	}
	b.known[server] = d
	trim(b.known)
	return d
}

// until is when a server may be asked again; the zero time: now.
func (b *backoff) until(ctx context.Context, server id.ServerName) time.Time {
	d := b.get(ctx, server)
	if d.Failures == 0 || !b.clock.Now().Before(time.UnixMilli(d.RetryAt)) {
		return time.Time{}
	}
	return time.UnixMilli(d.RetryAt)
}

// failed notes the failure of a request that began at began, over restarts if it is to be kept. Requests that were under way together count as
// one, and one that was under way when the server showed that it lives counts for nothing.
func (b *backoff) failed(ctx context.Context, server id.ServerName, began time.Time, keep bool) {
	d := b.get(ctx, server)
	b.mu.Lock()
	if known, ok := b.known[server]; ok {
		d = known
	}
	if d.Failures > 0 && began.UnixMilli() < d.FailedAt || began.UnixMilli() < d.heardAt {
		b.mu.Unlock()
		return
	}
	now := b.clock.Now()
	wait := min(backoffFirst<<min(d.Failures, backoffTurns), backoffMax)
	wait += time.Duration((rand.Float64() - 0.5) / 2 * float64(wait))
	d.Failures++
	d.FailedAt, d.RetryAt = now.UnixMilli(), now.Add(wait).UnixMilli()
	b.known[server] = d
	b.mu.Unlock()
	level := slog.LevelDebug
	if keep {
		level = slog.LevelInfo
	}
	b.log.Log(ctx, level, "server cannot be reached", slog.String("server", string(server)), slog.Int64("failures", d.Failures), slog.Duration("wait", wait))
	if keep {
		b.save(ctx, server)
	}
}

// heard notes that a server lives. It reports whether that is news.
func (b *backoff) heard(ctx context.Context, server id.ServerName) bool {
	b.get(ctx, server)
	b.mu.Lock()
	news := b.known[server].Failures > 0
	b.known[server] = standing{storage.Destination{Server: server}, b.clock.Now().UnixMilli()}
	b.mu.Unlock()
	if news {
		b.save(ctx, server)
	}
	return news
}

// save stores what is known of a server now, whoever noted it: of two that save at the same time, the later one writes what is true then.
func (b *backoff) save(ctx context.Context, server id.ServerName) {
	if b.store == nil {
		return
	}
	err := b.store.Update(context.WithoutCancel(ctx), func(tx *storage.Tx) error {
		b.mu.Lock()
		d, ok := b.known[server]
		b.mu.Unlock()
		switch {
		case !ok:
			return nil
		case d.Failures == 0:
			return tx.DeleteDestination(server)
		}
		return tx.PutDestination(d.Destination)
	})
	if err != nil {
		// It is still known in memory; what is lost with a restart is one attempt.
		b.log.Warn("failure of a server not stored", slog.String("server", string(server)), slog.Any("error", err))
	}
}

// Backoff is until when a server is left alone because it failed; the zero time: it is not.
func (c *Client) Backoff(to id.ServerName) time.Time {
	return c.backoff.until(context.Background(), to) // at most one row is read
}

// Heard notes that a server lives, because it sent something that it signed. It reports whether it had been left alone before, in which case
// what waits for it can be sent now.
func (c *Client) Heard(server id.ServerName) bool {
	return c.backoff.heard(context.Background(), server)
}
