package federationapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/fedtypes"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/roomserver"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

const (
	alice id.UserID = "@alice:hs"
	carol id.UserID = "@carol:two"
)

// rig is the API of the server hs over a real store, with rooms, keys and ephemera that only note what they are told.
type rig struct {
	t       *testing.T
	store   *storage.Store
	handler http.Handler
	told    *told
}

// told is the services behind the API.
type told struct {
	mu    sync.Mutex
	calls []string

	receive func(ctx context.Context, room id.RoomID, pdus []json.RawMessage) map[id.EventID]error
	err     error // of what asks for a membership
}

func (f *told) note(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
}

// take returns what has been noted, sorted, and forgets it.
func (f *told) take() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.calls
	f.calls = nil
	slices.Sort(out)
	return out
}

func (f *told) Receive(ctx context.Context, origin id.ServerName, room id.RoomID, pdus []json.RawMessage) map[id.EventID]error {
	f.note("receive %s %s %s", origin, room, pdus)
	if f.receive != nil {
		return f.receive(ctx, room, pdus)
	}
	out := map[id.EventID]error{}
	for _, p := range pdus {
		out[id.EventID(gjson.GetBytes(p, "id").Str)] = nil
	}
	return out
}

func (f *told) MakeJoin(_ context.Context, origin id.ServerName, room id.RoomID, user id.UserID, versions []gomatrixserverlib.RoomVersion) (fedtypes.Template, error) {
	f.note("make join %s %s %s %s", origin, room, user, versions)
	return fedtypes.Template{Version: "11", Event: json.RawMessage(`{"type":"m.room.member"}`)}, f.err
}

func (f *told) SendJoin(_ context.Context, origin id.ServerName, room id.RoomID, event id.EventID, pdu json.RawMessage, omit bool) (roomserver.Joined, error) {
	f.note("send join %s %s %s %s %t", origin, room, event, pdu, omit)
	return roomserver.Joined{Event: pdu, State: []json.RawMessage{json.RawMessage(`{}`)}, Servers: []id.ServerName{"hs"}}, f.err
}

func (f *told) MakeLeave(_ context.Context, origin id.ServerName, room id.RoomID, user id.UserID) (fedtypes.Template, error) {
	f.note("make leave %s %s %s", origin, room, user)
	return fedtypes.Template{Event: json.RawMessage(`{}`)}, f.err
}

func (f *told) SendLeave(_ context.Context, origin id.ServerName, room id.RoomID, event id.EventID, pdu json.RawMessage) error {
	f.note("send leave %s %s %s %s", origin, room, event, pdu)
	return f.err
}

func (f *told) MakeKnock(_ context.Context, origin id.ServerName, room id.RoomID, user id.UserID, versions []gomatrixserverlib.RoomVersion) (fedtypes.Template, error) {
	f.note("make knock %s %s %s %s", origin, room, user, versions)
	return fedtypes.Template{Version: "11", Event: json.RawMessage(`{}`)}, f.err
}

func (f *told) SendKnock(_ context.Context, origin id.ServerName, room id.RoomID, event id.EventID, pdu json.RawMessage) ([]json.RawMessage, error) {
	f.note("send knock %s %s %s %s", origin, room, event, pdu)
	return nil, f.err
}

func (f *told) AcceptInvite(_ context.Context, origin id.ServerName, room id.RoomID, event id.EventID, version gomatrixserverlib.RoomVersion,
	pdu json.RawMessage, stripped []json.RawMessage) (json.RawMessage, error) {
	f.note("invite %s %s %s %s %s %s", origin, room, event, version, pdu, stripped)
	return json.RawMessage(`{"signed":true}`), f.err
}

func (f *told) ExchangeThirdPartyInvite(_ context.Context, to id.ServerName, room id.RoomID, pdu json.RawMessage) error {
	f.note("exchange %s %s %s", to, room, pdu)
	return f.err
}

func (f *told) ReceiveTyping(_ context.Context, origin id.ServerName, room id.RoomID, user id.UserID, typing bool) error {
	f.note("typing %s %s %s %t", origin, room, user, typing)
	return nil
}

func (f *told) ReceiveReceipts(_ context.Context, origin id.ServerName, room id.RoomID, receipts json.RawMessage) error {
	f.note("receipts %s %s %s", origin, room, receipts)
	return nil
}

func (f *told) ReceivePresence(_ context.Context, origin id.ServerName, content json.RawMessage) error {
	f.note("presence %s %s", origin, content)
	return nil
}

func (f *told) ReceiveDeviceList(_ context.Context, origin id.ServerName, content json.RawMessage) error {
	f.note("devices %s %s", origin, content)
	return errors.New("no such device")
}

func (f *told) ReceiveSigningKeys(_ context.Context, origin id.ServerName, content json.RawMessage) error {
	f.note("signing keys %s %s", origin, content)
	return nil
}

func (f *told) ReceiveToDevice(_ context.Context, origin id.ServerName, content json.RawMessage) error {
	f.note("to device %s %s", origin, content)
	return nil
}

func (f *told) DevicesForServer(_ context.Context, origin id.ServerName, user id.UserID) (any, error) {
	return map[string]any{"user_id": user, "for": origin}, nil
}

func (f *told) KeysForServer(_ context.Context, _ id.ServerName, asked map[id.UserID][]id.DeviceID) (any, error) {
	return map[string]any{"asked": asked}, nil
}

func (f *told) ClaimForServer(_ context.Context, _ id.ServerName, asked map[id.UserID]map[id.DeviceID]string) (any, error) {
	return map[string]any{"asked": asked}, nil
}

func (f *told) OpenIDUser(_ context.Context, token string) (id.UserID, error) {
	if token != "good" {
		return "", merr.New(merr.UnknownToken, "Access token unknown or expired")
	}
	return alice, nil
}

func (f *told) Profile(_ context.Context, user id.UserID) (map[string]json.RawMessage, error) {
	if user != alice {
		return nil, merr.New(merr.NotFound, "There is no such profile")
	}
	return map[string]json.RawMessage{"displayname": json.RawMessage(`"Alice"`), "m.tz": json.RawMessage(`"UTC"`)}, nil
}

func (f *told) Own() (json.RawMessage, error) {
	return json.RawMessage(`{"server_name":"hs"}`), nil
}

func (f *told) Notary(_ context.Context, wanted map[id.ServerName]map[gomatrixserverlib.KeyID]int64) (out []json.RawMessage) {
	for server, keys := range wanted {
		text, _ := json.Marshal(map[string]any{"server_name": server, "wanted": keys})
		out = append(out, text)
	}
	return out
}

// plainNames believes every server that says its name.
type plainNames struct{}

func (plainNames) AuthenticateServer(_ context.Context, r *http.Request, _ []byte) (id.ServerName, error) {
	return id.ServerName(strings.TrimPrefix(r.Header.Get("Authorization"), "X-Matrix ")), nil
}

func newRig(t *testing.T) *rig {
	t.Helper()
	cfg := config.Default()
	cfg.Server.Name = "hs"
	r := &rig{t: t, store: storagetest.Open(t), told: &told{}}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	now := clock.NewFake(time.UnixMilli(1_800_000_000_000))
	api := New(Deps{
		Config: config.NewLive(cfg), Version: "test", Store: r.store, Rooms: r.told, Ephemera: r.told, Keys: r.told, KeyServer: r.told, Remote: r.told,
		Accounts: r.told, Clock: now, Log: log,
	})
	var err error
	if r.handler, err = web.New(web.Options{Servers: plainNames{}, Clock: now, Log: log}, api.Routes()); err != nil {
		t.Fatal(err)
	}
	storagetest.Run(t, api.Run)
	return r
}

// in is the rig for a subtest.
func (r *rig) in(t *testing.T) *rig {
	c := *r
	c.t = t
	return &c
}

// answer is a status with a body.
type answer struct {
	gjson.Result
	Code int
}

// as makes a request as a server; no body is none.
func (r *rig) as(server, method, path, body string) answer {
	r.t.Helper()
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	if server != "" {
		req.Header.Set("Authorization", "X-Matrix "+server)
	}
	w := httptest.NewRecorder()
	r.handler.ServeHTTP(w, req)
	return answer{gjson.ParseBytes(w.Body.Bytes()), w.Code}
}

// must is as for requests of server two that have to succeed.
func (r *rig) must(method, path, body string) answer {
	r.t.Helper()
	got := r.as("two", method, path, body)
	if got.Code != http.StatusOK {
		r.t.Fatalf("%s %s: %d %s", method, path, got.Code, got.Raw)
	}
	return got
}

// refused makes a request that has to fail.
func (r *rig) refused(server, method, path, body string, code int, errcode string) {
	r.t.Helper()
	got := r.as(server, method, path, body)
	if got.Code != code || got.Get("errcode").Str != errcode {
		r.t.Errorf("%s %s %s: got %d %s, want %d %s", server, method, path, got.Code, got.Raw, code, errcode)
	}
}

// texts is the strings of a list.
func texts(list gjson.Result) []string {
	out := []string{}
	for _, v := range list.Array() {
		out = append(out, v.Str)
	}
	return out
}

// names describes events: the text of messages, "-" for one without any, the state key and membership of members, the type of others.
func names(events gjson.Result) []string {
	out := []string{}
	for _, ev := range events.Array() {
		switch ev.Get("type").Str {
		case "m.room.message":
			out = append(out, ev.Get("content.body").Str+map[bool]string{false: "-"}[ev.Get("content.body").Exists()])
		case "m.room.member":
			out = append(out, ev.Get("state_key").Str+" "+ev.Get("content.membership").Str)
		default:
			out = append(out, strings.TrimPrefix(ev.Get("type").Str, "m.room."))
		}
	}
	return out
}
