package appservice

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// queryTimeout is how long an application service may take to make a user or a room.
const queryTimeout = 15 * time.Second

// MakeUser asks the application services in whose namespaces a user of this server would be to make the user if there is none, and reports
// whether one of them has. One that cannot be reached has not.
//
// Spec: application-service-api#querying
func (s *Service) MakeUser(ctx context.Context, user id.UserID) bool {
	if s == nil || !slices.ContainsFunc(s.registry.All(), func(r *Registration) bool { return r.HasUser(user) }) {
		return false
	}
	known := false
	err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		known, err = tx.HasUser(user)
		return err
	})
	if err != nil || known {
		return false // that the database fails, whoever asked will find out
	}
	return s.query(ctx, "/_matrix/app/v1/users/"+url.PathEscape(string(user)), func(r *Registration) bool { return r.HasUser(user) })
}

// MakeAlias is MakeUser for an alias of this server, with its room.
func (s *Service) MakeAlias(ctx context.Context, alias id.RoomAlias) bool {
	return s.query(ctx, "/_matrix/app/v1/rooms/"+url.PathEscape(string(alias)), func(r *Registration) bool { return r.HasAlias(alias) })
}

// query asks one application service after the other until one knows what the path names.
func (s *Service) query(ctx context.Context, path string, concerns func(*Registration) bool) bool {
	if s == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	for _, r := range s.registry.All() {
		if r.URL == nil || !concerns(r) {
			continue
		}
		_, err := s.client.do(ctx, r, http.MethodGet, path, nil, nil)
		if err == nil {
			return true
		}
		if !errors.Is(err, errMissing) && ctx.Err() == nil {
			s.log.Info("asking an application service failed", "appservice", r.ID, "error", reason(err))
		}
	}
	return false
}

// reason is an error without the URL, which holds what was asked for.
func reason(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
