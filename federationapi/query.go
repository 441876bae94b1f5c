package federationapi

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage"
)

func (a *API) queryRoutes() []web.Route {
	return []web.Route{
		get(v1+"/query/profile", a.queryProfile),
		get(v1+"/query/directory", a.queryDirectory),
		get(v1+"/query/{queryType}", a.queryOther),
	}
}

// Spec: server-server-api#get_matrixfederationv1queryqueryType
func (a *API) queryOther(context.Context, *web.Request) (any, error) {
	return nil, merr.New(merr.Unrecognized, "This server does not know such queries")
}

// localUser is the user of this server that another one names.
func (a *API) localUser(text string) (id.UserID, error) {
	user, err := id.ParseUserID(text)
	if err != nil {
		return "", merr.Newf(merr.InvalidParam, "user_id: %v", err)
	}
	if user.Server() != a.name {
		return "", merr.Newf(merr.InvalidParam, "%s is not a user of this server", user)
	}
	return user, nil
}

// Spec: server-server-api#get_matrixfederationv1queryprofile
func (a *API) queryProfile(ctx context.Context, r *web.Request) (any, error) {
	text, err := r.RequiredQuery("user_id")
	if err != nil {
		return nil, err
	}
	user, err := a.localUser(text)
	if err != nil {
		return nil, err
	}
	profile, err := a.accounts.Profile(ctx, user)
	// Spec: application-service-api#querying
	if merr.HasCode(err, merr.NotFound) && a.bridges.MakeUser(ctx, user) {
		profile, err = a.accounts.Profile(ctx, user)
	}
	field := r.Query().Get("field")
	if err != nil || field == "" {
		return profile, err
	}
	value, ok := profile[field]
	switch {
	case ok:
		return map[string]json.RawMessage{field: value}, nil
	case field == "displayname" || field == "avatar_url":
		return nil, nil // everybody has these, though they may be empty
	}
	return nil, merr.New(merr.NotFound, "The profile has no such field")
}

// Spec: server-server-api#get_matrixfederationv1querydirectory
func (a *API) queryDirectory(ctx context.Context, r *web.Request) (any, error) {
	text, err := r.RequiredQuery("room_alias")
	if err != nil {
		return nil, err
	}
	alias, err := id.ParseRoomAlias(text)
	if err != nil {
		return nil, merr.Newf(merr.InvalidParam, "room_alias: %v", err)
	}
	out, err := a.lookUp(ctx, alias)
	// Spec: application-service-api#querying
	if merr.HasCode(err, merr.NotFound) && a.bridges.MakeAlias(ctx, alias) {
		return a.lookUp(ctx, alias)
	}
	return out, err
}

// directoryAnswer is where an alias leads.
type directoryAnswer struct {
	RoomID  id.RoomID       `json:"room_id"`
	Servers []id.ServerName `json:"servers"`
}

// lookUp finds the room of an alias of this server, with the servers that are in it.
func (a *API) lookUp(ctx context.Context, alias id.RoomAlias) (directoryAnswer, error) {
	out := directoryAnswer{Servers: []id.ServerName{a.name}}
	err := a.store.View(ctx, func(tx *storage.ReadTx) error {
		found, err := tx.Alias(alias)
		if errors.Is(err, storage.ErrNotFound) || alias.Server() != a.name {
			return merr.New(merr.NotFound, "There is no such alias")
		}
		if err != nil {
			return err
		}
		if out.RoomID, err = tx.RoomID(found.Room); err != nil {
			return err
		}
		servers, err := tx.ServersInRoom(found.Room)
		out.Servers = append(out.Servers, servers...)
		return err
	})
	return out, err
}
