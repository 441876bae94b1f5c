package appservice

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/hearthd/hearth/internal/edu"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// maxNews is how many changes become one transaction of what is ephemeral.
const maxNews = 100

// What ephemeral events look like.
type (
	typingEvent struct {
		Type    string    `json:"type"`
		Room    id.RoomID `json:"room_id"`
		Content struct {
			Users []id.UserID `json:"user_ids"`
		} `json:"content"`
	}
	presenceEvent struct {
		Type    string          `json:"type"`
		Sender  id.UserID       `json:"sender"`
		Content json.RawMessage `json:"content"`
	}
	receiptEvent struct {
		Type    string                                                 `json:"type"`
		Room    id.RoomID                                              `json:"room_id"`
		Content map[id.EventID]map[string]map[id.UserID]map[string]any `json:"content"`
	}
)

// tell sends what has changed of typing, presence and receipts. It reports whether there may be more, or returns when to try again. What is
// tried again is what is true then, in a transaction of its own: nothing of it is stored or waits, and what the application service refuses is
// dropped. It has numbers that are never those of other transactions.
//
// Spec: application-service-api#pushing-ephemeral-data
func (w *worker) tell(ctx context.Context) (more bool, pause time.Duration, err error) {
	if !w.to.ReceiveEphemeral {
		return false, 0, nil
	}
	list, last := w.s.edus.NewsAfter(w.news, maxNews)
	events, err := w.ephemeral(ctx, list)
	if err != nil || len(list) == 0 {
		return false, 0, err
	}
	if len(events) == 0 {
		w.news = last
		return true, 0, nil
	}
	out := transaction{Events: []json.RawMessage{}, Ephemeral: events}
	if w.to.LegacyEphemeral {
		out.LegacyEphemeral = events
	}
	body, err := json.Marshal(out)
	if err != nil {
		return false, 0, err
	}
	w.newsTxn++
	err = w.send(ctx, "e"+strconv.FormatInt(w.newsTxn, 10), body)
	var refused *statusError
	switch {
	case ctx.Err() != nil:
		return false, 0, nil
	case errors.As(err, &refused) && refused.status < 500:
		w.s.sent.WithLabelValues(w.to.ID, "refused").Inc()
		w.s.log.Info("an application service does not take what is ephemeral", "appservice", w.to.ID, "error", reason(err))
	case err != nil:
		return false, w.failed(err), nil
	default:
		w.succeeded()
	}
	w.news = last
	return true, 0, nil
}

// ephemeral is the events for some news that concern the application service: each room and user once, as they are now.
func (w *worker) ephemeral(ctx context.Context, list []edu.News) (out []json.RawMessage, err error) {
	if len(list) == 0 {
		return nil, nil
	}
	add := func(event any) error {
		text, err := json.Marshal(event)
		out = append(out, text)
		return err
	}
	err = w.s.store.View(ctx, func(tx *storage.ReadTx) error {
		out = nil
		typing, present := map[id.RoomID]bool{}, map[id.UserID]bool{}
		for _, n := range list {
			var err error
			switch {
			case n.Receipt != nil:
				err = w.receipt(tx, n, add)
			case n.Typing != "" && !typing[n.Typing]:
				typing[n.Typing] = true
				err = w.typing(tx, n.Typing, add)
			case n.Presence != "" && !present[n.Presence]:
				present[n.Presence] = true
				err = w.presence(tx, n.Presence, add)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

func (w *worker) typing(tx *storage.ReadTx, room id.RoomID, add func(any) error) error {
	nid, err := tx.RoomNID(room)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if yes, err := w.interest.room(tx, nid, room); err != nil || !yes {
		return err
	}
	e := typingEvent{Type: "m.typing", Room: room}
	e.Content.Users = w.s.edus.Typing(room)
	return add(e)
}

func (w *worker) presence(tx *storage.ReadTx, user id.UserID, add func(any) error) error {
	if yes, err := w.interest.near(tx, user); err != nil || !yes {
		return err
	}
	p, ok := w.s.edus.PresenceOf(user)
	if !ok {
		return nil
	}
	return add(presenceEvent{"m.presence", user, p.Content(w.s.clock.Now().UnixMilli())})
}

func (w *worker) receipt(tx *storage.ReadTx, n edu.News, add func(any) error) error {
	r := n.Receipt
	if r.Type == storage.ReadPrivate && !w.to.HasUser(r.User) {
		return nil
	}
	if yes, err := w.interest.room(tx, r.Room, n.Room); err != nil || !yes {
		return err
	}
	data := map[string]any{"ts": r.TS}
	if r.Thread != "" {
		data["thread_id"] = r.Thread
	}
	return add(receiptEvent{"m.receipt", n.Room, map[id.EventID]map[string]map[id.UserID]map[string]any{r.Event: {r.Type: {r.User: data}}}})
}
