package account

import (
	"context"
	"errors"
	"net/http"

	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage"
)

var errUnknownToken = merr.New(merr.UnknownToken, "Unknown access token")

// Authenticate tells web who an access token belongs to. A locked user is told apart by the Caller, since it may still log out. Only
// application services can act as somebody else.
//
// Spec: client-server-api#using-access-tokens
func (s *Service) Authenticate(ctx context.Context, token, asUser string, r *http.Request) (web.Caller, error) {
	if as := s.appservices.ByToken(token); as != nil {
		return s.masquerade(ctx, as, asUser, r)
	}
	session, err := s.session(ctx, token)
	if err != nil {
		return web.Caller{}, err
	}
	s.sight(session, r)
	return web.Caller{
		User: session.UserID, Device: session.DeviceID,
		Guest: session.Guest, Admin: session.Admin, Suspended: session.Suspended, Locked: session.Locked,
	}, nil
}

// session looks up what an access token stands for.
func (s *Service) session(ctx context.Context, token string) (storage.Session, error) {
	session, generation, ok := s.sessions.get(token)
	if !ok {
		if !looksLike(accessPrefix, token) {
			return storage.Session{}, errUnknownToken
		}
		hash := hashToken(token)
		err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
			session, err = tx.Session(hash)
			return err
		})
		if errors.Is(err, storage.ErrNotFound) {
			return session, errUnknownToken
		}
		if err != nil {
			return session, err
		}
	}
	// Spec: client-server-api#soft-logout
	if expired(session.ExpiresTS, s.now()) {
		return session, merr.New(merr.UnknownToken, "The access token has expired").With("soft_logout", true)
	}
	if ok {
		return session, nil
	}
	if session.Replaces != nil {
		// Spec: client-server-api#refreshing-access-tokens. The old refresh token lives until the new access token is used: now.
		if err := s.store.Update(ctx, func(tx *storage.Tx) error {
			tx.OnCommit(func() { s.sessions.drop(session.UserID) })
			return tx.RevokeReplaced(*session.Replaces)
		}); err != nil {
			return session, err
		}
		session.Replaces = nil
		return session, nil
	}
	s.sessions.put(token, session, generation)
	return session, nil
}

// expired says whether the time of something that expires at ts, never if that is 0, has come.
func expired(ts, now int64) bool { return ts != 0 && ts <= now }
