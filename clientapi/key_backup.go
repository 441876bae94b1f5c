package clientapi

import (
	"context"
	"encoding/json"
	"strconv"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage"
)

// maxBackupBody is the length of a request with keys to be backed up, in bytes: some thousand of them.
const maxBackupBody = 8 << 20

func (a *API) keyBackupRoutes() []web.Route {
	const (
		version = "/_matrix/client/v3/room_keys/version"
		keys    = "/_matrix/client/v3/room_keys/keys"
		room    = keys + "/{roomID}"
		session = room + "/{sessionID}"
		write   = web.User | web.WhileSuspended
	)
	return []web.Route{
		{"POST", version, write, web.RateWrite, a.createBackup},
		{"GET", version, web.User, web.RateNone, a.backup},
		{"GET", version + "/{version}", web.User, web.RateNone, a.backup},
		{"PUT", version + "/{version}", write, web.RateWrite, a.updateBackup},
		{"DELETE", version + "/{version}", write, web.RateWrite, a.deleteBackup},
		{"GET", keys, web.User, web.RateRead, a.roomKeys},
		{"GET", room, web.User, web.RateRead, a.roomKeys},
		{"GET", session, web.User, web.RateNone, a.roomKeys},
		{"PUT", keys, write, web.RateNone, web.BodyLimit(maxBackupBody, a.putRoomKeys)},
		{"PUT", room, write, web.RateNone, web.BodyLimit(maxBackupBody, a.putRoomKeys)},
		{"PUT", session, write, web.RateNone, a.putRoomKeys},
		{"DELETE", keys, write, web.RateWrite, a.deleteRoomKeys},
		{"DELETE", room, write, web.RateWrite, a.deleteRoomKeys},
		{"DELETE", session, write, web.RateNone, a.deleteRoomKeys},
	}
}

// backupInfo is what clients say about a backup.
type backupInfo struct {
	Algorithm string          `json:"algorithm"`
	AuthData  json.RawMessage `json:"auth_data"`
	Version   string          `json:"version"`
}

// Spec: client-server-api#post_matrixclientv3room_keysversion
func (a *API) createBackup(ctx context.Context, r *web.Request) (any, error) {
	var body backupInfo
	if err := r.JSON(&body); err != nil {
		return nil, err
	}
	version, err := a.e2ee.CreateBackup(ctx, r.Caller.User, body.Algorithm, body.AuthData)
	return struct {
		Version string `json:"version"`
	}{version}, err
}

// backup serves a version, or the current one where the path has none.
//
// Spec: client-server-api#get_matrixclientv3room_keysversionversion
func (a *API) backup(ctx context.Context, r *web.Request) (any, error) {
	b, err := a.e2ee.Backup(ctx, r.Caller.User, r.Var("version"))
	return struct {
		Algorithm string          `json:"algorithm"`
		AuthData  json.RawMessage `json:"auth_data"`
		backupState
		Version string `json:"version"`
	}{b.Algorithm, b.AuthData, shapeBackup(b), strconv.FormatInt(b.Version, 10)}, err
}

// backupState is what has become of a backup's keys.
type backupState struct {
	Count int64  `json:"count"`
	ETag  string `json:"etag"`
}

func shapeBackup(b storage.KeyBackup) backupState {
	return backupState{b.Keys, strconv.FormatInt(b.ETag, 10)}
}

// Spec: client-server-api#put_matrixclientv3room_keysversionversion
func (a *API) updateBackup(ctx context.Context, r *web.Request) (any, error) {
	var body backupInfo
	if err := r.JSON(&body); err != nil {
		return nil, err
	}
	if body.Version != "" && body.Version != r.Var("version") {
		return nil, merr.New(merr.InvalidParam, "The version of the body is not that of the path")
	}
	return nil, a.e2ee.UpdateBackup(ctx, r.Caller.User, r.Var("version"), body.Algorithm, body.AuthData)
}

// Spec: client-server-api#delete_matrixclientv3room_keysversionversion
func (a *API) deleteBackup(ctx context.Context, r *web.Request) (any, error) {
	return nil, a.e2ee.DeleteBackup(ctx, r.Caller.User, r.Var("version"))
}

// roomKey is a key as clients have it. All members are required.
type roomKey struct {
	FirstMessage *int64          `json:"first_message_index"`
	Forwarded    *int64          `json:"forwarded_count"`
	Verified     *bool           `json:"is_verified"`
	Data         json.RawMessage `json:"session_data"`
}

func shapeRoomKey(k storage.RoomKey) roomKey {
	return roomKey{&k.FirstMessage, &k.Forwarded, &k.Verified, k.Data}
}

func (k roomKey) row(room id.RoomID, session string) (storage.RoomKey, error) {
	if k.FirstMessage == nil || k.Forwarded == nil || k.Verified == nil || k.Data == nil {
		return storage.RoomKey{}, merr.New(merr.MissingParam, "A key needs first_message_index, forwarded_count, is_verified and session_data")
	}
	return storage.RoomKey{Room: room, Session: session, FirstMessage: *k.FirstMessage, Forwarded: *k.Forwarded, Verified: *k.Verified,
		Data: k.Data}, nil
}

// roomSessions is the keys of a room, by session.
type roomSessions struct {
	Sessions map[string]roomKey `json:"sessions"`
}

// allSessions is the keys of a backup.
type allSessions struct {
	Rooms map[id.RoomID]roomSessions `json:"rooms"`
}

// which is the version, room and session of a request for keys; the path need not have the last two.
func which(r *web.Request) (version string, room id.RoomID, session string, err error) {
	version, err = r.RequiredQuery("version")
	// The room is not parsed: the ids of rooms elsewhere may look like anything, and the key is the user's own.
	return version, id.RoomID(r.Var("roomID")), r.Var("sessionID"), err
}

// roomKeys serves all keys, those of a room, or one, by what the path has.
//
// Spec: client-server-api#get_matrixclientv3room_keyskeys
func (a *API) roomKeys(ctx context.Context, r *web.Request) (any, error) {
	version, room, session, err := which(r)
	if err != nil {
		return nil, err
	}
	list, err := a.e2ee.RoomKeys(ctx, r.Caller.User, version, room, session)
	if err != nil {
		return nil, err
	}
	if session != "" {
		if len(list) == 0 {
			return nil, merr.New(merr.NotFound, "There is no such key")
		}
		return shapeRoomKey(list[0]), nil
	}
	out := allSessions{map[id.RoomID]roomSessions{}}
	if room != "" {
		out.Rooms[room] = roomSessions{map[string]roomKey{}}
	}
	for _, k := range list {
		if out.Rooms[k.Room].Sessions == nil {
			out.Rooms[k.Room] = roomSessions{map[string]roomKey{}}
		}
		out.Rooms[k.Room].Sessions[k.Session] = shapeRoomKey(k)
	}
	if room != "" {
		return out.Rooms[room], nil
	}
	return out, nil
}

// Spec: client-server-api#put_matrixclientv3room_keyskeys
func (a *API) putRoomKeys(ctx context.Context, r *web.Request) (any, error) {
	version, room, session, err := which(r)
	if err != nil {
		return nil, err
	}
	keys, err := roomKeysOf(r, room, session)
	if err != nil {
		return nil, err
	}
	b, err := a.e2ee.PutRoomKeys(ctx, r.Caller.User, version, keys)
	return shapeBackup(b), err
}

// roomKeysOf reads the body, whose shape depends on the path.
func roomKeysOf(r *web.Request, room id.RoomID, session string) ([]storage.RoomKey, error) {
	var body allSessions
	switch {
	case session != "":
		var one roomKey
		if err := r.JSON(&one); err != nil {
			return nil, err
		}
		body.Rooms = map[id.RoomID]roomSessions{room: {map[string]roomKey{session: one}}}
	case room != "":
		var some roomSessions
		if err := r.JSON(&some); err != nil {
			return nil, err
		}
		if some.Sessions == nil {
			return nil, merr.New(merr.MissingParam, "sessions is missing")
		}
		body.Rooms = map[id.RoomID]roomSessions{room: some}
	default:
		if err := r.JSON(&body); err != nil {
			return nil, err
		}
		if body.Rooms == nil {
			return nil, merr.New(merr.MissingParam, "rooms is missing")
		}
	}
	var out []storage.RoomKey
	for room, sessions := range body.Rooms {
		for session, key := range sessions.Sessions {
			row, err := key.row(room, session)
			if err != nil {
				return nil, err
			}
			out = append(out, row)
		}
	}
	return out, nil
}

// Spec: client-server-api#delete_matrixclientv3room_keyskeys
func (a *API) deleteRoomKeys(ctx context.Context, r *web.Request) (any, error) {
	version, room, session, err := which(r)
	if err != nil {
		return nil, err
	}
	b, err := a.e2ee.DeleteRoomKeys(ctx, r.Caller.User, version, room, session)
	return shapeBackup(b), err
}
