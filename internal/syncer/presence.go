package syncer

import (
	"fmt"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/edu"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// meet notes who has come into a room that the user is in, and who is there where the user has come: the client knows nothing of where they
// are, even if that has not changed.
func (r *room) meet(lists ...[]*storage.Event) error {
	if r.initial {
		return nil
	}
	if r.met == nil {
		r.met = map[id.UserID]bool{}
	}
	if r.after == everything {
		members, err := r.tx.LocalJoined(r.m.Room)
		for _, m := range members {
			r.met[m.User] = true
		}
		return err
	}
	for _, list := range lists {
		for _, ev := range list {
			if ev.Type == memberType && ev.StateKey != nil && ev.Get("content.membership").Str == "join" {
				r.met[id.UserID(*ev.StateKey)] = true
			}
		}
	}
	return nil
}

// maxAsked is up to how many users it is cheaper to ask for each whether they share a room with the user.
const maxAsked = 4

// presence writes where those are who share a room with the user, as far as that has changed.
//
// Spec: client-server-api#presence
func (l *look) presence() error {
	var news []edu.Presence
	if l.initial || l.hub.EphemeralSince(hub.User(l.User), l.since.Eph) {
		news = l.edus.PresencesSince(l.since.Eph)
	}
	known := map[id.UserID]bool{}
	for _, p := range news {
		known[p.User] = true
	}
	near, err := l.near(news)
	if err != nil {
		return fmt.Errorf("find out who shares a room: %w", err)
	}
	for u := range l.met {
		if p, ok := l.edus.PresenceOf(u); ok && !known[u] && u != l.User {
			news = append(news, p)
			near[u] = true
		}
	}
	o := l.openList(`"presence":{"events":[`)
	now := l.now.UnixMilli()
	for _, p := range news {
		if !near[p.User] || l.initial && p.State == edu.Offline || !l.Filter.Presence.Match(string(p.User), "m.presence") {
			continue
		}
		l.item(&o)
		l.buf = append(l.buf, `{"content":`...)
		l.buf = append(l.buf, p.Content(now)...)
		l.buf = append(l.buf, `,"sender":`...)
		l.buf = gjson.AppendJSONString(l.buf, string(p.User))
		l.buf = append(l.buf, `,"type":"m.presence"}`...)
	}
	l.closeList(o, `]},`)
	l.some = l.some || o.items > 0
	return nil
}

// near finds out who of some users shares a room with the user.
func (l *look) near(list []edu.Presence) (map[id.UserID]bool, error) {
	near := map[id.UserID]bool{l.User: true}
	if len(list) > maxAsked {
		users, err := l.tx.Neighbours(l.User)
		for _, u := range users {
			near[u] = true
		}
		return near, err
	}
	for _, p := range list {
		if p.User == l.User {
			continue
		}
		shared, err := l.tx.SharesRoom(l.User, p.User)
		if err != nil {
			return nil, err
		}
		near[p.User] = shared
	}
	return near, nil
}
