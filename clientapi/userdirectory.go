package clientapi

import (
	"context"
	"slices"
	"strconv"

	"github.com/hearthd/hearth/internal/directory"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage"
)

func (a *API) userDirectoryRoutes() []web.Route {
	return []web.Route{
		{"POST", "/_matrix/client/v3/user_directory/search", web.User | web.WhileSuspended, web.RateRead, a.searchUsers},
		{"GET", "/_matrix/client/v1/mutual_rooms", web.User, web.RateRead, a.mutualRooms},
	}
}

// foundUser is a user in the answer of a search.
type foundUser struct {
	ID          id.UserID `json:"user_id"`
	DisplayName string    `json:"display_name,omitempty"`
	AvatarURL   string    `json:"avatar_url,omitempty"`
}

// maxFoundUsers bounds the answer of a search.
const maxFoundUsers = 100

// Spec: client-server-api#post_matrixclientv3user_directorysearch
func (a *API) searchUsers(ctx context.Context, r *web.Request) (any, error) {
	var body struct {
		Term  *string `json:"search_term"`
		Limit *int    `json:"limit"`
	}
	if err := r.JSON(&body); err != nil {
		return nil, err
	}
	if body.Term == nil {
		return nil, merr.New(merr.MissingParam, "search_term is missing")
	}
	limit := 10
	if body.Limit != nil {
		limit = min(max(*body.Limit, 0), maxFoundUsers)
	}
	out := struct {
		Results []foundUser `json:"results"`
		Limited bool        `json:"limited"`
	}{Results: []foundUser{}}
	err := a.store.View(ctx, func(tx *storage.ReadTx) error {
		people, limited, err := directory.People(tx, r.Caller.User, *body.Term, limit)
		for _, p := range people {
			out.Results = append(out.Results, foundUser(p))
		}
		out.Limited = limited
		return err
	})
	return out, err
}

// maxMutual is the number of rooms in one answer.
const maxMutual = 100

// Spec: client-server-api#get_matrixclientv1mutual_rooms
func (a *API) mutualRooms(ctx context.Context, r *web.Request) (any, error) {
	text, err := r.RequiredQuery("user_id")
	if err != nil {
		return nil, err
	}
	other, err := id.ParseUserID(text)
	if err != nil || !other.Compliant() || other == r.Caller.User {
		return nil, merr.New(merr.InvalidParam, "user_id must be the id of another user")
	}
	start := 0
	if from := r.Query().Get("from"); from != "" {
		if start, err = strconv.Atoi(from); err != nil || start < 0 {
			return nil, merr.New(merr.InvalidParam, "The pagination token is not one of this server")
		}
	}
	var rooms []id.RoomID
	err = a.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		rooms, err = tx.MutualRooms(r.Caller.User, other)
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(rooms)
	start = min(start, len(rooms))
	end := min(start+maxMutual, len(rooms))
	out := struct {
		Joined []id.RoomID `json:"joined"`
		Count  int         `json:"count"`
		Next   string      `json:"next_batch,omitempty"`
	}{Joined: append([]id.RoomID{}, rooms[start:end]...), Count: len(rooms)}
	if end < len(rooms) {
		out.Next = strconv.Itoa(end)
	}
	return out, nil
}
