package edu

import (
	"sync"

	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// News is one thing that has changed, for those few who follow everything: somebody has begun or ceased to type in a room, somebody's presence
// has changed, or a receipt has moved. It says where to look for typing and presence, and what a receipt is now.
type News struct {
	Typing   id.RoomID // of the room; empty: it is not about typing
	Presence id.UserID // of the user; empty: it is not about presence
	Receipt  *storage.Receipt
	Room     id.RoomID // the room of the receipt
}

// maxNews bounds the news that are kept. Who is further behind misses the older ones.
const maxNews = 4096

// news is the newest changes, numbered from 1 on.
type news struct {
	mu   sync.Mutex
	kept []News
	last int64 // the number of the last one
}

// NewsKey is rung when there are News. They are kept only if Options.Followed says that somebody wants them.
func NewsKey() hub.Key { return hub.Name('N', "") }

// NewsAfter is the news after the one with a number, oldest first, up to limit of them, and the number of the last one returned. Those that
// are not kept any more are passed over.
func (s *Service) NewsAfter(number int64, limit int) ([]News, int64) {
	n := &s.news
	n.mu.Lock()
	defer n.mu.Unlock()
	first := n.last - int64(len(n.kept)) + 1
	skip := max(number+1-first, 0)
	if skip >= int64(len(n.kept)) {
		return nil, n.last
	}
	out := n.kept[skip:]
	if len(out) > limit {
		out = out[:limit]
	}
	return append([]News{}, out...), first + skip + int64(len(out)) - 1
}

// LastNews is the number of the last News.
func (s *Service) LastNews() int64 {
	s.news.mu.Lock()
	defer s.news.mu.Unlock()
	return s.news.last
}

// report keeps news, after the commit of what they are about.
func (s *Service) report(list ...News) {
	if !s.options.Followed || len(list) == 0 {
		return
	}
	n := &s.news
	n.mu.Lock()
	n.kept = append(n.kept, list...)
	n.last += int64(len(list))
	if over := len(n.kept) - maxNews; over > 0 {
		n.kept = append([]News{}, n.kept[over+maxNews/2:]...)
	}
	n.mu.Unlock()
	s.hub.Wake(NewsKey())
}
