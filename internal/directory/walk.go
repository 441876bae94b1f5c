package directory

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// Bounds of what one request asks other servers about rooms.
const (
	maxAsked    = 40 // rooms
	maxTogether = 8  // rooms at the same time
	maxTried    = 3  // servers for one room
	askTimeout  = 10 * time.Second
	walkTimeout = 30 * time.Second
)

// How long the answers are believed. Somebody who starts anew wants to see what is there now; who goes on to the next page must find the same
// rooms before it, and does not wait again for what was not to be had.
const (
	freshTree = 30 * time.Second
	keptTree  = 10 * time.Minute
)

// errTired says that other servers were asked long enough for one request.
var errTired = errors.New("too much to ask other servers for")

// walk looks at rooms for one request of one user.
type walk struct {
	s        *Service
	user     id.UserID
	members  map[id.RoomID]string
	again    bool      // it goes on with what an earlier request began
	deadline time.Time // of the network, which has the machine's clock
	asked    int
	trees    map[id.RoomID]tree  // by the room that was asked for
	told     map[id.RoomID]place // rooms as the spaces above them describe them
	hidden   map[id.RoomID]bool
}

func (s *Service) newWalk(ctx context.Context, user id.UserID, again bool) (*walk, error) {
	w := &walk{
		s: s, user: user, again: again, deadline: time.Now().Add(walkTimeout),
		trees: map[id.RoomID]tree{}, told: map[id.RoomID]place{}, hidden: map[id.RoomID]bool{},
	}
	err := s.store.View(ctx, func(tx *storage.ReadTx) error {
		f, err := newFinder(tx, user)
		if err == nil {
			w.members = f.members
		}
		return err
	})
	return w, err
}

// finder looks at rooms within a transaction, for the user of the walk.
func (w *walk) finder(tx *storage.ReadTx) *finder {
	return &finder{tx: tx, user: w.user, members: w.members}
}

// visit describes a room: as it is known here if this server is in it, else as other servers describe it, and failing that as it was known
// here. todo is what the walk comes to next, the last first: servers are asked for some of it at the same time. The error is
// storage.ErrNotFound for a room that is not for the user to know, or that nobody tells about.
func (w *walk) visit(ctx context.Context, at step, todo []step) (place, error) {
	p, here, err := w.local(ctx, at.room)
	if here || err != nil && !errors.Is(err, storage.ErrNotFound) {
		return p, err
	}
	if there, found := w.known(at.room); found {
		return w.shown(there)
	}
	if terr := w.ask(ctx, todo); terr != nil {
		return place{}, terr
	}
	if there, found := w.known(at.room); found {
		return w.shown(there)
	}
	// A parent that described a space did not describe what is in it; it is better than nothing.
	if there, found := w.told[at.room]; found {
		return w.shown(there)
	}
	return p, err
}

// local describes a room as this server knows it; here says that this server is in the room, so that nobody knows it better.
func (w *walk) local(ctx context.Context, room id.RoomID) (p place, here bool, err error) {
	err = w.s.store.View(ctx, func(tx *storage.ReadTx) error {
		row, err := tx.Room(room)
		if err != nil {
			return err
		}
		if here, err = tx.AnyLocalJoined(row.NID); err != nil {
			return err
		}
		p, err = w.finder(tx).place(row)
		return err
	})
	return p, here, err
}

// shown is a place as another server describes it, if the user may know of it.
func (w *walk) shown(p place) (place, error) {
	if !w.finder(nil).mayKnow(&p.Summary) {
		return place{}, storage.ErrNotFound
	}
	return p, nil
}

// known is a room that other servers have described already; a space only if it was asked for itself.
func (w *walk) known(room id.RoomID) (place, bool) {
	if t, ok := w.trees[room]; ok && t.root != nil {
		return *t.root, true
	}
	p, ok := w.told[room]
	return p, ok && p.Type != spaceType
}

// ask asks other servers about the last room of todo, and about some of those before it that will have to be asked for too.
func (w *walk) ask(ctx context.Context, todo []step) error {
	var wanted []step
	for i := len(todo) - 1; i >= 0 && len(wanted) < maxTogether; i-- {
		at := todo[i]
		if _, done := w.trees[at.room]; done || w.hidden[at.room] {
			continue
		}
		if _, known := w.known(at.room); known {
			continue
		}
		if i < len(todo)-1 {
			if _, here, err := w.local(ctx, at.room); err != nil && !errors.Is(err, storage.ErrNotFound) {
				return err
			} else if here {
				continue
			}
		}
		wanted = append(wanted, at)
	}
	trees := make([]tree, len(wanted))
	fresh := wanted[:0:0]
	for i, at := range wanted {
		var known bool
		if trees[i], known = w.remembered(at); !known {
			fresh = append(fresh, at)
		}
	}
	if len(fresh) > 0 && (w.asked+len(fresh) > maxAsked || !time.Now().Before(w.deadline)) {
		return errTired
	}
	w.asked += len(fresh)
	var group sync.WaitGroup
	for i, at := range wanted {
		if slices.ContainsFunc(fresh, func(f step) bool { return f.room == at.room }) {
			group.Go(func() {
				defer func() {
					if p := recover(); p != nil {
						w.s.log.Error("reading a room of another server panicked", slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
					}
				}()
				trees[i] = w.s.askAny(ctx, at)
			})
		}
	}
	group.Wait()
	for i, at := range wanted {
		w.learn(at.room, trees[i])
	}
	return ctx.Err()
}

// learn takes what a server said. About the rooms in a space it is believed within this walk only.
func (w *walk) learn(room id.RoomID, t tree) {
	w.trees[room] = t
	for child, p := range t.children {
		if _, ok := w.told[child]; !ok {
			w.told[child] = p
		}
	}
	for child := range t.hidden {
		w.hidden[child] = true
	}
}

// servers is whom to ask for a room.
func (s *Service) servers(at step) []id.ServerName {
	out := distinct(at.via, len(at.via))
	out = slices.DeleteFunc(out, func(server id.ServerName) bool { return server == s.server || server == "" })
	return out[:min(len(out), maxTried)]
}

// remembered is what is known of a room without asking.
func (w *walk) remembered(at step) (tree, bool) {
	servers := w.s.servers(at)
	age := freshTree
	if w.again {
		age = keptTree
	}
	for _, server := range servers {
		if t, ok := w.s.trees.get(treeKey{server, at.room}, age); ok && t.root != nil {
			return t, true
		}
	}
	for _, server := range servers {
		t, ok := w.s.trees.get(treeKey{server, at.room}, age)
		if !ok || t.refused && !w.again {
			return tree{}, false
		}
	}
	return tree{}, true
}

// askAny asks some servers about a room, one after the other until one describes it.
func (s *Service) askAny(ctx context.Context, at step) tree {
	for _, server := range s.servers(at) {
		if t := s.askOne(ctx, server, at.room); t.root != nil || ctx.Err() != nil {
			return t
		}
	}
	return tree{}
}

// Summary describes one room to a user, or to nobody in particular where user is empty: then other servers are not asked, or everybody could
// make this one ask any of them. storage.ErrNotFound: nobody knows of such a room, or it is not for the user to know.
//
// Spec: client-server-api#get_matrixclientv1room_summaryroomidoralias
func (s *Service) Summary(ctx context.Context, room id.RoomID, via []id.ServerName, user id.UserID) (Summary, error) {
	w, err := s.newWalk(ctx, user, false)
	if err != nil {
		return Summary{}, err
	}
	var p place
	if user == "" {
		p, _, err = w.local(ctx, room)
	} else {
		at := step{room: room, via: append(via, room.Server())}
		p, err = w.visit(ctx, at, []step{at})
	}
	return p.Summary, err
}
