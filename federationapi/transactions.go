package federationapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"sync"
	"unicode/utf8"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/fedtypes"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/pdu"
	"github.com/hearthd/hearth/internal/serveracl"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage"
)

func (a *API) transactionRoutes() []web.Route {
	return []web.Route{
		{"PUT", v1 + "/send/{txnID}", web.Federation | web.LongBody, web.RateFederation, a.send},
	}
}

// What a transaction may hold.
//
// Spec: server-server-api#transactions
const (
	maxPDUs = 50
	maxEDUs = 100
)

// transaction is what a server sends. Its events and messages are judged one by one: that one of them is nonsense is no fault of the others.
type transaction struct {
	pdus []json.RawMessage
	edus []json.RawMessage
	size int // of all of it, in bytes
}

// pduResults is what became of the events of a transaction.
type pduResults map[id.EventID]pduResult

type pduResult struct {
	Error string `json:"error,omitempty"`
}

// Spec: server-server-api#put_matrixfederationv1sendtxnid
func (a *API) send(ctx context.Context, r *web.Request) (any, error) {
	body, err := io.ReadAll(r.Body())
	if err != nil {
		return nil, err
	}
	t, err := parseTransaction(body)
	if err != nil {
		return nil, err
	}
	results, err := a.inbox.take(ctx, r.Origin, r.Var("txnID"), t)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		err = merr.New(merr.Unknown, "The transaction takes too long; send it again").WithStatus(504)
	}
	return struct {
		PDUs pduResults `json:"pdus"`
	}{results}, err
}

// parseTransaction reads the body of a transaction. Unlike other bodies it may be nested as deeply as the decoder can follow, since it has what
// users have sent in it.
func parseTransaction(body []byte) (transaction, error) {
	if !utf8.Valid(body) {
		return transaction{}, merr.New(merr.NotJSON, "The body is not UTF-8")
	}
	var fields struct {
		PDUs fedtypes.List[json.RawMessage] `json:"pdus"`
		EDUs fedtypes.List[json.RawMessage] `json:"edus"`
	}
	err := json.Unmarshal(body, &fields)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return transaction{}, merr.New(merr.NotJSON, "The body is not JSON")
	}
	if err != nil || bytes.TrimLeft(body, " \t\r\n")[0] != '{' {
		return transaction{}, merr.New(merr.BadJSON, "The body is not a transaction")
	}
	if len(fields.PDUs) > maxPDUs || len(fields.EDUs) > maxEDUs {
		return transaction{}, merr.Newf(merr.BadJSON, "A transaction must not have more than %d PDUs and %d EDUs", maxPDUs, maxEDUs)
	}
	return transaction{fields.PDUs, fields.EDUs, len(body)}, nil
}

// maxRoomsAtOnce is the number of rooms whose events are received at the same time, so that a room that waits for other servers does not hold
// up all others.
const maxRoomsAtOnce = 8

// process works on a transaction: the rooms beside one another, each in order, and the EDUs beside the rooms.
func (a *API) process(ctx context.Context, origin id.ServerName, t transaction) pduResults {
	var (
		mu      sync.Mutex
		results = make(pduResults, len(t.pdus))
		workers sync.WaitGroup
		places  = make(chan struct{}, maxRoomsAtOnce)
	)
	workers.Go(func() {
		a.guard(origin, func() { a.receiveEDUs(ctx, origin, t.edus) })
	})
	for _, g := range groupByRoom(t.pdus) {
		places <- struct{}{}
		workers.Go(func() {
			defer func() { <-places }()
			var errs map[id.EventID]error
			a.guard(origin, func() { errs = a.receive(ctx, origin, g) })
			mu.Lock()
			defer mu.Unlock()
			for event, err := range errs {
				results[event] = a.result(ctx, origin, event, err)
			}
		})
	}
	workers.Wait()
	return results
}

// guard survives a panic in the work on what a server has sent: whoever finds a way to cause one must not stop the server with it.
func (a *API) guard(origin id.ServerName, work func()) {
	defer func() {
		if p := recover(); p != nil {
			a.log.Error("work on a transaction panicked", "origin", origin, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	work()
}

// group is the events of one room in the order of the transaction.
type group struct {
	room id.RoomID
	pdus []json.RawMessage
}

// groupByRoom sorts events by rooms. Those that are of no room belong nowhere and are dropped.
//
// Spec: server-server-api#checks-performed-on-receipt-of-a-pdu
func groupByRoom(pdus []json.RawMessage) []group {
	var out []group
	at := map[id.RoomID]int{}
	for _, raw := range pdus {
		room, err := id.ParseRoomID(gjson.GetBytes(raw, "room_id").Str)
		if err != nil {
			continue
		}
		i, ok := at[room]
		if !ok {
			i = len(out)
			at[room] = i
			out = append(out, group{room: room})
		}
		out[i].pdus = append(out[i].pdus, raw)
	}
	return out
}

// receive gives the events of a room to the room server, if the room lets the origin in.
//
// Spec: server-server-api#server-access-control-lists-acls
func (a *API) receive(ctx context.Context, origin id.ServerName, g group) map[id.EventID]error {
	var room *storage.Room
	err := a.store.View(ctx, func(tx *storage.ReadTx) error {
		var err error
		if room, err = tx.Room(g.room); err != nil {
			return err
		}
		acl, err := serveracl.In(tx, room.NID)
		if err == nil && !acl.Allows(origin) {
			err = errDenied
		}
		return err
	})
	switch {
	case errors.Is(err, errDenied):
		return refuseAll(room, g.pdus, merr.New(merr.Forbidden, "The room does not let this server in"))
	case err != nil && !errors.Is(err, storage.ErrNotFound):
		a.log.ErrorContext(ctx, "events not received", "origin", origin, "room", g.room, "error", err)
		return refuseAll(room, g.pdus, merr.New(merr.Unknown, "Internal server error"))
	}
	return a.rooms.Receive(ctx, origin, g.room, g.pdus)
}

// refuseAll is one result for many events.
func refuseAll(room *storage.Room, pdus []json.RawMessage, why error) map[id.EventID]error {
	if room == nil {
		return nil
	}
	version, err := gomatrixserverlib.GetRoomVersion(room.Version)
	if err != nil {
		return nil
	}
	out := map[id.EventID]error{}
	for _, raw := range pdus {
		if ev, err := pdu.Parse(version, raw); err == nil {
			out[ev.ID] = why
		}
	}
	return out
}

// result is what the other server learns of an event.
func (a *API) result(ctx context.Context, origin id.ServerName, event id.EventID, err error) pduResult {
	if err == nil {
		return pduResult{}
	}
	level := slog.LevelError // what is not meant for the other server is a fault of this one
	var why *merr.Error
	if errors.As(err, &why) || ctx.Err() != nil {
		level = slog.LevelDebug
	}
	a.log.Log(ctx, level, "event not taken", "origin", origin, "event", event, "error", err)
	return pduResult{Error: merr.From(err).Msg}
}
