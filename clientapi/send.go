package clientapi

import (
	"context"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/roomserver"
	"github.com/hearthd/hearth/storage"
)

func (a *API) sendRoutes() []web.Route {
	const room = "/_matrix/client/v3/rooms/{roomID}"
	return []web.Route{
		{"PUT", room + "/send/{eventType}/{txnID}", web.Guest, web.RateMessage, a.sendEvent},
		{"POST", room + "/send/{eventType}", web.Guest, web.RateMessage, a.sendEvent},
		{"PUT", room + "/state/{eventType}", web.Guest, web.RateMessage, a.sendState},
		{"PUT", room + "/state/{eventType}/", web.Guest, web.RateMessage, a.sendState},
		{"PUT", room + "/state/{eventType}/{stateKey}", web.Guest, web.RateMessage, a.sendState},
		{"PUT", room + "/redact/{eventID}/{txnID}", web.Guest | web.WhileSuspended, web.RateMessage, a.redact},
		{"POST", room + "/redact/{eventID}", web.Guest | web.WhileSuspended, web.RateMessage, a.redact},
	}
}

type eventIDAnswer struct {
	EventID id.EventID `json:"event_id"`
}

// transaction names the request by what the specification scopes transaction ids to: the device and the endpoint.
//
// Spec: client-server-api#transaction-identifiers
func transaction(r *web.Request) storage.Txn {
	txn := r.Var("txnID")
	if txn == "" {
		return storage.Txn{}
	}
	return storage.Txn{User: r.Caller.User, Device: r.Caller.Device, Endpoint: r.Method + " " + endpoint(r.HTTP().URL.EscapedPath()), ID: txn}
}

// endpoint is a path without its last segment. It does not depend on which characters the client has escaped.
func endpoint(escaped string) string {
	segments := strings.Split(escaped, "/")
	segments = segments[:len(segments)-1]
	for i, s := range segments {
		if plain, err := url.PathUnescape(s); err == nil {
			segments[i] = url.PathEscape(plain)
		}
	}
	return strings.Join(segments, "/")
}

// Spec: client-server-api#put_matrixclientv3roomsroomidsendeventtypetxnid
func (a *API) sendEvent(ctx context.Context, r *web.Request) (any, error) {
	room, err := r.RoomID("roomID")
	if err != nil {
		return nil, err
	}
	if answer, later, err := a.sendLater(ctx, r, room, nil); later {
		return answer, err
	}
	content, err := r.Object()
	if err != nil {
		return nil, err
	}
	ts, err := eventTime(r)
	if err != nil {
		return nil, err
	}
	event, err := a.rooms.Send(ctx, roomserver.SendRequest{
		Room: room, Sender: r.Caller.User, Type: r.Var("eventType"), Content: content, TS: ts, Txn: transaction(r),
	})
	return eventIDAnswer{event}, err
}

// Spec: client-server-api#put_matrixclientv3roomsroomidstateeventtypestatekey
func (a *API) sendState(ctx context.Context, r *web.Request) (any, error) {
	room, err := r.RoomID("roomID")
	if err != nil {
		return nil, err
	}
	key := r.Var("stateKey")
	if answer, later, err := a.sendLater(ctx, r, room, &key); later {
		return answer, err
	}
	content, err := r.Object()
	if err != nil {
		return nil, err
	}
	ts, err := eventTime(r)
	if err != nil {
		return nil, err
	}
	request := roomserver.SendRequest{Room: room, Sender: r.Caller.User, Type: r.Var("eventType"), StateKey: &key, Content: content, TS: ts}
	if request.Type == "m.room.canonical_alias" {
		request.Aliases = a.aliasesElsewhere(ctx, room, content)
	}
	event, err := a.rooms.Send(ctx, request)
	return eventIDAnswer{event}, err
}

// maxTime is the largest number that origin_server_ts can be.
const maxTime = 1<<53 - 1

// eventTime is the time that an application service gives an event, in milliseconds; 0 for now, which it is for everybody else.
//
// Spec: application-service-api#timestamp-massaging
func eventTime(r *web.Request) (int64, error) {
	text := r.Query().Get("ts")
	if r.Caller.AppserviceID == "" || text == "" {
		return 0, nil
	}
	ts, err := strconv.ParseInt(text, 10, 64)
	if err != nil || ts <= 0 || ts > maxTime {
		return 0, merr.New(merr.InvalidParam, "ts must be a time in milliseconds")
	}
	return ts, nil
}

// Bounds of what a canonical alias makes this server ask others for.
const (
	maxAliasesElsewhere = 10
	aliasesTimeout      = 20 * time.Second
)

// aliasesElsewhere returns those aliases of other servers that an m.room.canonical_alias names and that lead to the room.
//
// Spec: client-server-api#mroomcanonical_alias
func (a *API) aliasesElsewhere(ctx context.Context, room id.RoomID, content json.RawMessage) []id.RoomAlias {
	ctx, cancel := context.WithTimeout(ctx, aliasesTimeout)
	defer cancel()
	var out []id.RoomAlias
	asked := 0
	for _, named := range append([]gjson.Result{gjson.GetBytes(content, "alias")}, gjson.GetBytes(content, "alt_aliases").Array()...) {
		alias, err := id.ParseRoomAlias(named.Str)
		if err != nil || a.isLocal(alias.Server()) || asked == maxAliasesElsewhere {
			continue
		}
		asked++
		if found, err := a.directory.Resolve(ctx, alias); err == nil && found.Room == room {
			out = append(out, alias)
		}
	}
	return out
}

// Spec: client-server-api#put_matrixclientv3roomsroomidredacteventidtxnid
func (a *API) redact(ctx context.Context, r *web.Request) (any, error) {
	room, err := r.RoomID("roomID")
	if err != nil {
		return nil, err
	}
	var body struct {
		Reason *string `json:"reason"`
	}
	if err := r.JSONOptional(&body); err != nil {
		return nil, err
	}
	content := json.RawMessage(`{}`)
	if body.Reason != nil {
		if content, err = json.Marshal(map[string]string{"reason": *body.Reason}); err != nil {
			return nil, err
		}
	}
	// The event id is not parsed: those of other servers' events may look like anything.
	target := id.EventID(r.Var("eventID"))
	if r.Caller.Suspended {
		if err := a.mustBeOwn(ctx, r.Caller.User, target); err != nil {
			return nil, err
		}
	}
	event, err := a.rooms.Redact(ctx, roomserver.SendRequest{Room: room, Sender: r.Caller.User, Content: content, Txn: transaction(r)}, target)
	return eventIDAnswer{event}, err
}

// mustBeOwn lets suspended users redact their own events only.
//
// Spec: client-server-api#account-suspension
func (a *API) mustBeOwn(ctx context.Context, user id.UserID, target id.EventID) error {
	own := false
	err := a.store.View(ctx, func(tx *storage.ReadTx) error {
		e, err := tx.Event(target)
		own = err == nil && e.Sender == user
		return ignoreNotFound(err)
	})
	if err == nil && !own {
		return web.Suspended()
	}
	return err
}

// userIDField parses a user id of a request's body.
func userIDField(text string) (id.UserID, error) {
	if text == "" {
		return "", merr.New(merr.MissingParam, "user_id is missing")
	}
	user, err := id.ParseUserID(text)
	if err != nil {
		return "", merr.New(merr.InvalidParam, err.Error())
	}
	return user, nil
}
