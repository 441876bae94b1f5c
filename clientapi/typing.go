package clientapi

import (
	"context"
	"time"

	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
)

func (a *API) typingRoutes() []web.Route {
	return []web.Route{
		{"PUT", "/_matrix/client/v3/rooms/{roomID}/typing/{userID}", web.User, web.RateNone, a.setTyping},
	}
}

// Spec: client-server-api#put_matrixclientv3roomsroomidtypinguserid
func (a *API) setTyping(ctx context.Context, r *web.Request) (any, error) {
	user, room, err := ownUserAndRoom(r)
	if err != nil {
		return nil, err
	}
	var body struct {
		Typing  *bool `json:"typing"`
		Timeout int64 `json:"timeout"` // milliseconds
	}
	if err := r.JSON(&body); err != nil {
		return nil, err
	}
	if body.Typing == nil {
		return nil, merr.New(merr.MissingParam, "typing is missing")
	}
	timeout := time.Duration(min(max(body.Timeout, 0), time.Hour.Milliseconds())) * time.Millisecond
	return nil, a.edus.SetTyping(ctx, room, user, *body.Typing, timeout)
}
