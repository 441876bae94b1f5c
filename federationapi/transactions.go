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

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/fedtypes"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
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
	if len(t.edus) > 0 {
		workers.Go(func() {
			a.guard(origin, func() { a.receiveEDUs(ctx, origin, t.edus) })
		})
	}
	receive := func(g group) {
		var errs map[id.EventID]error
		a.guard(origin, func() { errs = a.rooms.Receive(ctx, origin, g.room, g.pdus) })
		mu.Lock()
		defer mu.Unlock()
		for event, err := range errs {
			results[event] = a.result(ctx, origin, event, err)
		}
	}
	groups := groupByRoom(t.pdus)
	for i, g := range groups {
		if i == len(groups)-1 { // mostly the only one
			receive(g)
			break
		}
		places <- struct{}{}
		workers.Go(func() {
			defer func() { <-places }()
			receive(g)
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
