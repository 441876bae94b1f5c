package account

import (
	"context"
	"encoding/json"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// serviceType is the type of accounts that the server itself speaks through. No password opens them.
const serviceType = "service"

// ServiceUser is an account that the server itself speaks through.
type ServiceUser struct {
	Localpart, DisplayName, AvatarURL string
}

// EnsureService makes an account for the server itself, unless it is there, and has it look as it should.
func (s *Service) EnsureService(ctx context.Context, u ServiceUser) (id.UserID, error) {
	user, err := s.ParseLocal(u.Localpart)
	if err != nil {
		return "", err
	}
	err = s.store.Update(ctx, func(tx *storage.Tx) error {
		taken, err := tx.HasUser(user)
		if err != nil {
			return err
		}
		if !taken {
			return s.insertUser(tx, storage.User{ID: user, Type: serviceType, CreatedTS: s.now()}, u.DisplayName)
		}
		row, err := tx.User(user)
		if err == nil && (row.Type != serviceType || row.Deactivated()) {
			err = merr.Newf(merr.UserInUse, "The account %s is somebody's: choose another server_notices.localpart", user)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	for field, text := range map[string]string{fieldDisplayName: u.DisplayName, fieldAvatarURL: u.AvatarURL} {
		value, err := json.Marshal(text)
		if err == nil && text != "" {
			err = s.SetProfileField(ctx, user, field, value)
		}
		if err != nil {
			return "", err
		}
	}
	return user, nil
}
