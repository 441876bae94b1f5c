package account

import (
	"context"
	"errors"
	"time"

	"github.com/hearthd/hearth/internal/admin"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// Console is the service as the command line sees it: users are named by a full id or the localpart.
type Console struct{ Service *Service }

var _ admin.Accounts = Console{}

// CreateUser makes an account.
func (c Console) CreateUser(ctx context.Context, user, password string, isAdmin bool) (string, error) {
	local, err := c.Service.ParseLocal(user)
	if err != nil {
		return "", err
	}
	made, err := c.Service.CreateUser(ctx, NewUser{Localpart: local.Localpart(), Password: password, Admin: isAdmin})
	return string(made), err
}

// ResetPassword gives a user another password and ends all sessions.
func (c Console) ResetPassword(ctx context.Context, user, password string) (string, error) {
	local, err := c.Service.ParseLocal(user)
	if err != nil {
		return "", err
	}
	return string(local), c.Service.ResetPassword(ctx, local, password, true)
}

// Deactivate closes an account.
func (c Console) Deactivate(ctx context.Context, user string, erase bool) (string, error) {
	local, err := c.Service.ParseLocal(user)
	if err != nil {
		return "", err
	}
	err = c.Service.Deactivate(ctx, local, erase)
	if errors.Is(err, storage.ErrNotFound) {
		err = merr.New(merr.NotFound, "User not found.")
	}
	return string(local), err
}

// listed is the number of accounts read at a time.
const listed = 500

// ListUsers lists all accounts.
func (c Console) ListUsers(ctx context.Context) ([]admin.User, error) {
	out := []admin.User{}
	var after id.UserID
	for {
		page, err := c.Service.ListUsers(ctx, after, listed)
		if err != nil {
			return nil, err
		}
		for _, u := range page {
			out = append(out, admin.User{
				ID: string(u.ID), CreatedAt: time.UnixMilli(u.CreatedTS), Admin: u.Admin, Guest: u.Guest,
				Deactivated: u.Deactivated(), Locked: u.Locked, Suspended: u.Suspended,
			})
			after = u.ID
		}
		if len(page) < listed {
			return out, nil
		}
	}
}
