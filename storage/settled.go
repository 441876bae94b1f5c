package storage

import (
	"context"
	"sync"
)

// settling is how far the functions given to OnCommit have run. Between a commit and their end a reader can see changes of which neither
// the hub nor the caches have heard: who decides by those what to read must wait for Settled first.
type settling struct {
	mu    sync.Mutex
	begun int64         // the highest position that a commit of this process has made visible, or is about to
	done  int64         // the highest position whose OnCommit functions have returned
	wait  chan struct{} // closed when done moves; nil while nobody waits
}

// begin is called before the commit of what leads up to pos.
func (s *settling) begin(pos int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun = max(s.begun, pos)
}

// finish is called when the OnCommit functions of the last commit have returned, or when it has failed.
func (s *settling) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = s.begun
	if s.wait != nil {
		close(s.wait)
		s.wait = nil
	}
}

// pending is nil if everything up to pos is done, and else a channel that closes when there is more to look at.
func (s *settling) pending(pos int64) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if min(pos, s.begun) <= s.done {
		return nil
	}
	if s.wait == nil {
		s.wait = make(chan struct{})
	}
	return s.wait
}

// Settled returns when all OnCommit functions of this process's changes up to pos have run, which is microseconds after their commit. It
// may be called inside a View, with the View's Position. Changes of other processes are not waited for.
func (s *Store) Settled(ctx context.Context, pos int64) error {
	for {
		c := s.settling.pending(pos)
		if c == nil {
			return nil
		}
		select {
		case <-c:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
