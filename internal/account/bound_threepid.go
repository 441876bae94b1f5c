package account

import (
	"context"
	"slices"
	"time"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/identity"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

const (
	// maxBound is how many addresses of a user are bound at identity servers, all of which are asked when the account is closed.
	maxBound = 50
	// unbindTime is how long closing an account waits for identity servers.
	unbindTime = 30 * time.Second
)

// errNoIdentity is what a server says that asks no identity servers.
var errNoIdentity = merr.New(merr.Unrecognized, "This server does not ask identity servers").WithStatus(400)

// BindThreepid has an identity server publish that an address, which a session there has proven, is the user's.
//
// Spec: client-server-api#post_matrixclientv3account3pidbind
func (s *Service) BindThreepid(ctx context.Context, user id.UserID, access identity.Access, session, secret string) error {
	if s.identity == nil {
		return errNoIdentity
	}
	before, err := s.boundThreepids(ctx, user)
	if err != nil {
		return err
	}
	if len(before) >= maxBound {
		return merr.Newf(merr.UserLimitExceeded, "Nobody can bind more than %d addresses", maxBound).With("info_uri", s.config.Get().BaseURL())
	}
	// What is published has to be remembered, also when whoever asked goes away.
	ctx = context.WithoutCancel(ctx)
	t, err := s.identity.Bind(ctx, access, session, secret, user)
	if err != nil {
		return err
	}
	gone := false
	err = s.store.Update(ctx, func(tx *storage.Tx) error {
		u, err := tx.User(user)
		if gone = u.Deactivated(); err != nil || gone {
			return err
		}
		return tx.InsertBoundThreepid(user, storage.BoundThreepid{Medium: t.Medium, Address: t.Address, Server: access.Server})
	})
	if gone && err == nil {
		_, err = s.identity.Unbind(ctx, access.Server, t, user)
	}
	return err
}

// UnbindThreepid takes back from an identity server whose an address is; without a server from those that it was bound at. It reports false if
// there is none, or one that does not do that.
//
// Spec: client-server-api#post_matrixclientv3account3pidunbind
func (s *Service) UnbindThreepid(ctx context.Context, user id.UserID, t identity.Threepid, server id.ServerName) (bool, error) {
	if s.identity == nil {
		return false, nil
	}
	wanted := []storage.BoundThreepid{{Medium: t.Medium, Address: t.Address, Server: server}}
	if server == "" {
		bound, err := s.boundThreepids(ctx, user)
		if err != nil {
			return false, err
		}
		wanted = wanted[:0]
		for _, b := range bound {
			if b.Medium == t.Medium && b.Address == t.Address {
				wanted = append(wanted, b)
			}
		}
	}
	all := len(wanted) > 0
	var failed error
	for _, b := range wanted {
		done, err := s.unbind(ctx, user, b)
		if all = all && done; failed == nil {
			failed = err
		}
	}
	return all, failed
}

// unbind asks one identity server, and forgets what it has unbound.
func (s *Service) unbind(ctx context.Context, user id.UserID, b storage.BoundThreepid) (bool, error) {
	done, err := s.identity.Unbind(ctx, b.Server, identity.Threepid{Medium: b.Medium, Address: b.Address}, user)
	if done {
		err = s.store.Update(context.WithoutCancel(ctx), func(tx *storage.Tx) error { return tx.DeleteBoundThreepid(user, b) })
	}
	return done, err
}

// unbindAll takes back all that identity servers know of a user whose account is closed, and reports whether that has succeeded.
//
// Spec: client-server-api#post_matrixclientv3accountdeactivate (id_server_unbind_result)
func (s *Service) unbindAll(ctx context.Context, user id.UserID, bound []storage.BoundThreepid) bool {
	if s.identity == nil {
		return len(bound) == 0
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unbindTime)
	defer cancel()
	all := true
	for _, b := range bound {
		done, err := s.unbind(ctx, user, b)
		if !done {
			all = false
			s.log.Info("an address of a closed account is still bound", "server", b.Server, "error", err)
		}
	}
	return all
}

func (s *Service) boundThreepids(ctx context.Context, user id.UserID) ([]storage.BoundThreepid, error) {
	var out []storage.BoundThreepid
	err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		out, err = tx.BoundThreepids(user)
		return err
	})
	return out, err
}

// leftBound lists what identity servers are to be told when an account is closed: what was bound through this server, and with a server that the
// user names, that none of the addresses is theirs any more.
func leftBound(tx *storage.ReadTx, user id.UserID, server id.ServerName) ([]storage.BoundThreepid, error) {
	bound, err := tx.BoundThreepids(user)
	if err != nil || server == "" {
		return bound, err
	}
	own, err := tx.Threepids(user)
	addresses := slices.Clone(bound)
	for _, t := range own {
		addresses = append(addresses, storage.BoundThreepid{Medium: t.Medium, Address: t.Address})
	}
	for _, b := range addresses {
		if b.Server = server; !slices.Contains(bound, b) {
			bound = append(bound, b)
		}
	}
	return bound, err
}
