package clientapi

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/matrix-org/gomatrixserverlib"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/roomserver"
	"github.com/hearthd/hearth/storage"
)

func (a *API) roomRoutes() []web.Route {
	const (
		alias = "/_matrix/client/v3/directory/room/{roomAlias}"
		list  = "/_matrix/client/v3/directory/list/room/{roomID}"
	)
	return []web.Route{
		{"POST", "/_matrix/client/v3/createRoom", web.User, web.RateJoin, a.createRoom},
		{"POST", "/_matrix/client/v3/rooms/{roomID}/upgrade", web.User, web.RateJoin, a.upgradeRoom},
		{"GET", alias, web.Optional, web.RateRead, a.roomIDByAlias},
		{"PUT", alias, web.User, web.RateWrite, a.setRoomAlias},
		{"DELETE", alias, web.User, web.RateWrite, a.deleteRoomAlias},
		{"GET", "/_matrix/client/v3/rooms/{roomID}/aliases", web.User, web.RateRead, a.localAliases},
		{"GET", list, web.None, web.RateRead, a.roomVisibility},
		{"PUT", list, web.User, web.RateWrite, a.setRoomVisibility},
	}
}

// maxInvitesByAddress bounds the requests to identity servers that making a room causes.
const maxInvitesByAddress = 20

// Spec: client-server-api#post_matrixclientv3createroom
func (a *API) createRoom(ctx context.Context, r *web.Request) (any, error) {
	var body struct {
		Visibility      string                        `json:"visibility"`
		RoomAliasName   string                        `json:"room_alias_name"`
		Name            string                        `json:"name"`
		Topic           string                        `json:"topic"`
		Invite          []string                      `json:"invite"`
		Invite3PID      []thirdParty                  `json:"invite_3pid"`
		RoomVersion     gomatrixserverlib.RoomVersion `json:"room_version"`
		CreationContent map[string]json.RawMessage    `json:"creation_content"`
		InitialState    []roomserver.InitialState     `json:"initial_state"`
		Preset          string                        `json:"preset"`
		IsDirect        bool                          `json:"is_direct"`
		PowerLevels     map[string]json.RawMessage    `json:"power_level_content_override"`
	}
	if err := r.JSON(&body); err != nil {
		return nil, err
	}
	if body.Visibility != "" && body.Visibility != "public" && body.Visibility != "private" {
		return nil, merr.New(merr.InvalidParam, "visibility must be public or private")
	}
	if len(body.Invite3PID) > maxInvitesByAddress {
		return nil, merr.Newf(merr.InvalidParam, "invite_3pid has more than %d invites", maxInvitesByAddress)
	}
	var byAddress []roomserver.ThirdPartyInvite
	for _, t := range body.Invite3PID {
		invite, err := t.invite("", r.Caller.User)
		if err != nil {
			return nil, err
		}
		invite.Direct = body.IsDirect
		byAddress = append(byAddress, invite)
	}
	invite := make([]id.UserID, 0, len(body.Invite))
	for _, text := range body.Invite {
		user, err := userIDField(text)
		if err != nil {
			return nil, err
		}
		invite = append(invite, user)
	}
	for _, e := range body.InitialState {
		if e.Type == "" || len(e.Content) == 0 {
			return nil, merr.New(merr.BadJSON, "An event of initial_state needs type and content")
		}
	}
	if body.RoomAliasName != "" {
		// A name that makes no alias is refused by the room.
		if alias, err := id.ParseRoomAlias("#" + body.RoomAliasName + ":" + a.config.Get().Server.Name); err == nil {
			if err := a.accounts.MayMakeAlias(r.Caller, alias); err != nil {
				return nil, err
			}
		}
	}
	if body.RoomVersion == "" {
		body.RoomVersion = gomatrixserverlib.RoomVersion(a.config.Get().Rooms.DefaultVersion) // a reload may have changed it
	}
	room, err := a.rooms.Create(ctx, roomserver.CreateRequest{
		Creator: r.Caller.User, Version: body.RoomVersion, Preset: body.Preset, Published: body.Visibility == "public",
		AliasName: body.RoomAliasName, Name: body.Name, Topic: body.Topic, Invite: invite, Direct: body.IsDirect,
		Content: body.CreationContent, PowerLevels: body.PowerLevels, InitialState: body.InitialState,
	})
	if err == nil {
		err = a.inviteAllByAddress(ctx, byAddress, room)
	}
	return roomIDAnswer{room}, err
}

// Spec: client-server-api#post_matrixclientv3roomsroomidupgrade
func (a *API) upgradeRoom(ctx context.Context, r *web.Request) (any, error) {
	room, err := r.RoomID("roomID")
	if err != nil {
		return nil, err
	}
	var body struct {
		NewVersion         gomatrixserverlib.RoomVersion `json:"new_version"`
		AdditionalCreators []string                      `json:"additional_creators"`
	}
	if err := r.JSON(&body); err != nil {
		return nil, err
	}
	if body.NewVersion == "" {
		return nil, merr.New(merr.MissingParam, "new_version is missing")
	}
	creators := make([]id.UserID, 0, len(body.AdditionalCreators))
	for _, text := range body.AdditionalCreators {
		user, err := userIDField(text)
		if err != nil {
			return nil, err
		}
		creators = append(creators, user)
	}
	replacement, err := a.rooms.Upgrade(ctx, roomserver.UpgradeRequest{Room: room, User: r.Caller.User, Version: body.NewVersion, Creators: creators})
	return struct {
		ReplacementRoom id.RoomID `json:"replacement_room"`
	}{replacement}, err
}

// Spec: client-server-api#get_matrixclientv3directoryroomroomalias
func (a *API) roomIDByAlias(ctx context.Context, r *web.Request) (any, error) {
	alias, err := r.RoomAlias("roomAlias")
	if err != nil {
		return nil, err
	}
	if !a.isLocal(alias.Server()) {
		if err := mayAskOthers(r); err != nil {
			return nil, err
		}
	}
	room, err := a.directory.Resolve(ctx, alias)
	return struct {
		RoomID  id.RoomID       `json:"room_id"`
		Servers []id.ServerName `json:"servers"`
	}{room.Room, room.Servers}, err
}

// Spec: client-server-api#put_matrixclientv3directoryroomroomalias
func (a *API) setRoomAlias(ctx context.Context, r *web.Request) (any, error) {
	alias, err := r.RoomAlias("roomAlias")
	if err != nil {
		return nil, err
	}
	var body struct {
		RoomID string `json:"room_id"`
	}
	if err := r.JSON(&body); err != nil {
		return nil, err
	}
	room, err := id.ParseRoomID(body.RoomID)
	if err != nil {
		return nil, merr.New(merr.InvalidParam, err.Error())
	}
	if err := a.accounts.MayMakeAlias(r.Caller, alias); err != nil {
		return nil, err
	}
	return nil, a.rooms.AddAlias(ctx, r.Caller.User, alias, room)
}

// Spec: client-server-api#delete_matrixclientv3directoryroomroomalias
func (a *API) deleteRoomAlias(ctx context.Context, r *web.Request) (any, error) {
	alias, err := r.RoomAlias("roomAlias")
	if err != nil {
		return nil, err
	}
	if !r.Caller.Admin {
		if err := a.accounts.MayRemoveAlias(r.Caller, alias); err != nil {
			return nil, err
		}
	}
	return nil, a.rooms.RemoveAlias(ctx, r.Caller.User, r.Caller.Admin || a.accounts.ManagesAlias(r.Caller, alias), alias)
}

// Spec: client-server-api#get_matrixclientv3roomsroomidaliases
func (a *API) localAliases(ctx context.Context, r *web.Request) (any, error) {
	room, err := r.RoomID("roomID")
	if err != nil {
		return nil, err
	}
	var aliases []id.RoomAlias
	err = a.store.View(ctx, func(tx *storage.ReadTx) error {
		row, err := tx.Room(room)
		if err != nil {
			return err
		}
		if m, err := tx.Membership(row.NID, r.Caller.User); row.Summary.HistoryVisibility != "world_readable" &&
			(err != nil || m.Membership != "join") {
			return errors.Join(storage.ErrNotFound, ignoreNotFound(err))
		}
		aliases, err = tx.AliasesOf(row.NID)
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		return nil, merr.New(merr.Forbidden, "You are not in the room")
	}
	return struct {
		Aliases []id.RoomAlias `json:"aliases"`
	}{aliases}, err
}

// Spec: client-server-api#get_matrixclientv3directorylistroomroomid
func (a *API) roomVisibility(ctx context.Context, r *web.Request) (any, error) {
	room, err := r.RoomID("roomID")
	if err != nil {
		return nil, err
	}
	visibility := "private"
	err = a.store.View(ctx, func(tx *storage.ReadTx) error {
		row, err := tx.Room(room)
		if err == nil && row.Published {
			visibility = "public"
		}
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		return nil, merr.New(merr.NotFound, "This server does not know the room")
	}
	return map[string]string{"visibility": visibility}, err
}

// Spec: client-server-api#put_matrixclientv3directorylistroomroomid
func (a *API) setRoomVisibility(ctx context.Context, r *web.Request) (any, error) {
	room, err := r.RoomID("roomID")
	if err != nil {
		return nil, err
	}
	var body struct {
		Visibility string `json:"visibility"`
	}
	if err := r.JSONOptional(&body); err != nil {
		return nil, err
	}
	if body.Visibility != "" && body.Visibility != "public" && body.Visibility != "private" {
		return nil, merr.New(merr.InvalidParam, "visibility must be public or private")
	}
	return nil, a.rooms.SetPublished(ctx, r.Caller.User, r.Caller.Admin, room, body.Visibility != "private")
}
