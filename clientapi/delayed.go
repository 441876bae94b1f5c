package clientapi

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/hearthd/hearth/internal/delayed"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage"
)

func (a *API) delayedRoutes() []web.Route {
	const (
		prefix = "/_matrix/client/unstable/org.matrix.msc4140"
		one    = prefix + "/delayed_events/{delayID}"
		// Whoever knows the id may manage the event, as the services that clients leave it to do.
		known = web.None | web.SecretPath
	)
	return []web.Route{
		{"PUT", prefix + "/rooms/{roomID}/delayed_event/{eventType}/{txnID}", web.Guest, web.RateMessage, a.scheduleEvent},
		{"GET", prefix + "/delayed_events", web.Guest, web.RateRead, a.delayedEvents},
		{"GET", one, web.Guest | web.SecretPath, web.RateRead, a.delayedEvent},
		{"POST", one, known, web.RateRead, a.manageDelayedEvent},
		{"POST", one + "/{action}", known, web.RateRead, a.manageDelayedEvent},
	}
}

type delayAnswer struct {
	DelayID string `json:"delay_id"`
}

// laterTransaction is transaction for an event that is sent later, so that the answers of the one are never given to the other.
func laterTransaction(r *web.Request) storage.Txn {
	txn := transaction(r)
	if txn.ID != "" {
		txn.Endpoint += " later"
	}
	return txn
}

// maxDelayMS is the largest number of milliseconds that is a time.Duration.
const maxDelayMS = int64((1<<63 - 1) / time.Millisecond)

// Spec: MSC4140#scheduling-a-delayed-event
func (a *API) scheduleEvent(ctx context.Context, r *web.Request) (any, error) {
	room, err := r.RoomID("roomID")
	if err != nil {
		return nil, err
	}
	ts, err := eventTime(r)
	if err != nil {
		return nil, err
	}
	var body struct {
		Delay    int64           `json:"delay_ms"`
		StateKey *string         `json:"state_key"`
		Content  json.RawMessage `json:"content"`
	}
	if err := r.JSON(&body); err != nil {
		return nil, err
	}
	if len(body.Content) == 0 || body.Content[0] != '{' {
		return nil, merr.New(merr.BadJSON, "content must be an object")
	}
	delay, err := a.delayed.Schedule(ctx, delayed.Request{
		Room: room, User: r.Caller.User, Type: r.Var("eventType"), StateKey: body.StateKey, Content: body.Content, TS: ts,
		Delay: time.Duration(min(body.Delay, maxDelayMS)) * time.Millisecond, Txn: laterTransaction(r),
	})
	return delayAnswer{delay}, err
}

// delayParam is how clients of today ask that /send and /state send later.
const delayParam = "org.matrix.msc4140.delay"

// sendLater answers requests to /send and /state that are to be done later. It reports false for all others.
//
// Spec: MSC4140#reusing-the-sendstate-endpoints
func (a *API) sendLater(ctx context.Context, r *web.Request, room id.RoomID, stateKey *string) (answer any, later bool, err error) {
	text := r.Query().Get(delayParam)
	if text == "" {
		return nil, false, nil
	}
	txn := laterTransaction(r)
	if txn.ID != "" {
		if delay, err := a.delayed.Scheduled(ctx, txn); !errors.Is(err, storage.ErrNotFound) {
			return delayAnswer{delay}, true, err
		}
	}
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil || ms > maxDelayMS {
		return nil, true, merr.Newf(merr.InvalidParam, "%s must be a number of milliseconds", delayParam)
	}
	wanted := time.Duration(ms) * time.Millisecond
	if longest, most := a.delayed.Limits(); wanted > longest && most > 0 {
		// Clients take the longest delay from here and try again.
		return nil, true, merr.Newf(merr.Unknown, "An event can be delayed by at most %d ms", longest.Milliseconds()).WithStatus(400).
			With("org.matrix.msc4140.errcode", merr.MaxDelayExceeded).With("org.matrix.msc4140.max_delay", longest.Milliseconds())
	}
	content, err := r.Object()
	if err != nil {
		return nil, true, err
	}
	ts, err := eventTime(r)
	if err != nil {
		return nil, true, err
	}
	delay, err := a.delayed.Schedule(ctx, delayed.Request{
		Room: room, User: r.Caller.User, Type: r.Var("eventType"), StateKey: stateKey, Content: content, TS: ts, Delay: wanted, Txn: txn,
	})
	return delayAnswer{delay}, true, err
}

// delayedEvent is a delayed event as its user is shown it.
type delayedEvent struct {
	DelayID string          `json:"delay_id"`
	RoomID  id.RoomID       `json:"room_id"`
	Type    string          `json:"type"`
	Key     *string         `json:"state_key,omitempty"`
	Delay   int64           `json:"delay_ms"`
	Since   int64           `json:"scheduled_at"`
	Content json.RawMessage `json:"content"`
	Error   json.RawMessage `json:"error,omitempty"`
	EventID id.EventID      `json:"event_id,omitempty"`
	Over    int64           `json:"finalised_ts,omitempty"`
	// What the two were called before, which clients of today read.
	OldDelay int64 `json:"delay"`
	OldSince int64 `json:"running_since"`
}

func showDelayed(d storage.DelayedEvent) delayedEvent {
	return delayedEvent{
		DelayID: d.ID, RoomID: d.Room, Type: d.Type, Key: d.StateKey, Delay: d.Delay, Since: d.Since, Content: d.Content,
		Error: d.Error, EventID: d.Event, Over: d.Finalised, OldDelay: d.Delay, OldSince: d.Since,
	}
}

// Spec: MSC4140#getting-a-list-of-delayed-events
func (a *API) delayedEvents(ctx context.Context, r *web.Request) (any, error) {
	events, err := a.delayed.List(ctx, r.Caller.User)
	out := make([]delayedEvent, len(events))
	for i, d := range events {
		out[i] = showDelayed(d)
	}
	return struct {
		Events []delayedEvent `json:"delayed_events"`
	}{out}, err
}

// Spec: MSC4140#getting-a-single-delayed-event
func (a *API) delayedEvent(ctx context.Context, r *web.Request) (any, error) {
	d, err := a.delayed.Of(ctx, r.Caller.User, r.Var("delayID"))
	return showDelayed(d), err
}

// manageDelayedEvent takes the action from the path, or from the body, where it was in earlier texts of the proposal and is for some clients.
//
// Spec: MSC4140#managing-scheduled-delayed-events
func (a *API) manageDelayedEvent(ctx context.Context, r *web.Request) (any, error) {
	delay, action := r.Var("delayID"), r.Var("action")
	if action == "" {
		var body struct {
			Action string `json:"action"`
		}
		if err := r.JSON(&body); err != nil {
			return nil, err
		}
		if action = body.Action; action == "" {
			return nil, merr.New(merr.MissingParam, "action is missing")
		}
	}
	do, rate := a.delayed.Cancel, web.RateWrite
	switch action {
	case "cancel":
	case "restart":
		do = a.delayed.Restart
	case "send":
		do, rate = a.delayed.Send, web.RateMessage
	default:
		return nil, merr.New(merr.Unrecognized, "The action must be send, cancel or restart")
	}
	// One service may do this for many users, from one address.
	if err := r.Spend(rate, "delayed event "+delay); err != nil {
		return nil, err
	}
	return nil, do(ctx, delay)
}
