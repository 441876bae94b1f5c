package e2ee

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

var errNoBackup = merr.New(merr.NotFound, "There is no such backup")

// backupVersion reads a version; what is none names no backup.
func backupVersion(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 || strconv.FormatInt(n, 10) != text {
		return 0, errNoBackup
	}
	return n, nil
}

// checkAuthData refuses what could not be stored as the auth_data of a backup.
func checkAuthData(algorithm string, authData json.RawMessage) error {
	switch {
	case algorithm == "" || len(authData) == 0:
		return merr.New(merr.MissingParam, "A backup needs algorithm and auth_data")
	case !goodName(algorithm):
		return merr.New(merr.InvalidParam, "The algorithm has too long a name")
	case authData[0] != '{':
		return merr.New(merr.BadJSON, "auth_data is not an object")
	case len(authData) > maxObject:
		return merr.Newf(merr.TooLarge, "auth_data must not be longer than %d bytes", maxObject)
	}
	return nil
}

// CreateBackup makes a backup, which becomes the current one, and returns its version.
//
// Spec: client-server-api#post_matrixclientv3room_keysversion
func (s *Service) CreateBackup(ctx context.Context, user id.UserID, algorithm string, authData json.RawMessage) (string, error) {
	if err := checkAuthData(algorithm, authData); err != nil {
		return "", err
	}
	var version int64
	err := s.store.Update(ctx, func(tx *storage.Tx) (err error) {
		version, err = tx.AddKeyBackup(user, algorithm, authData)
		return err
	})
	return strconv.FormatInt(version, 10), err
}

// Backup is a backup of a user; an empty version means the current one. It is M_NOT_FOUND if there is none, or it has been deleted.
//
// Spec: client-server-api#get_matrixclientv3room_keysversionversion
func (s *Service) Backup(ctx context.Context, user id.UserID, version string) (storage.KeyBackup, error) {
	var out storage.KeyBackup
	err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		if version != "" {
			out, err = existing(tx, user, version)
			return err
		}
		if out, err = tx.CurrentKeyBackup(user); errors.Is(err, storage.ErrNotFound) {
			err = errNoBackup
		}
		return err
	})
	return out, err
}

// existing finds a backup that is not deleted.
func existing(tx *storage.ReadTx, user id.UserID, version string) (storage.KeyBackup, error) {
	n, err := backupVersion(version)
	if err != nil {
		return storage.KeyBackup{}, err
	}
	b, err := tx.KeyBackup(user, n)
	if errors.Is(err, storage.ErrNotFound) || err == nil && b.Deleted {
		err = errNoBackup
	}
	return b, err
}

// current finds the backup that can be written to, which has to have the version.
func current(tx *storage.ReadTx, user id.UserID, version string) (storage.KeyBackup, error) {
	b, err := existing(tx, user, version)
	if err != nil {
		return b, err
	}
	newest, err := tx.CurrentKeyBackup(user)
	if err == nil && newest.Version != b.Version {
		err = merr.New(merr.WrongRoomKeysVersion, "The backup is not the current one").
			With("current_version", strconv.FormatInt(newest.Version, 10))
	}
	return b, err
}

// UpdateBackup replaces the auth_data of a backup. Nothing else about it can change.
//
// Spec: client-server-api#put_matrixclientv3room_keysversionversion
func (s *Service) UpdateBackup(ctx context.Context, user id.UserID, version, algorithm string, authData json.RawMessage) error {
	if err := checkAuthData(algorithm, authData); err != nil {
		return err
	}
	return s.store.Update(ctx, func(tx *storage.Tx) error {
		b, err := existing(&tx.ReadTx, user, version)
		if err != nil {
			return err
		}
		if b.Algorithm != algorithm {
			return merr.New(merr.InvalidParam, "The algorithm of a backup cannot change")
		}
		return tx.SetKeyBackupAuthData(user, b.Version, authData)
	})
}

// DeleteBackup removes a backup with its keys. One that has been deleted before is no error.
//
// Spec: client-server-api#delete_matrixclientv3room_keysversionversion
func (s *Service) DeleteBackup(ctx context.Context, user id.UserID, version string) error {
	n, err := backupVersion(version)
	if err != nil {
		return err
	}
	return s.store.Update(ctx, func(tx *storage.Tx) error {
		err := tx.DeleteKeyBackup(user, n)
		if errors.Is(err, storage.ErrNotFound) {
			err = errNoBackup
		}
		return err
	})
}

// RoomKeys is the keys of a backup, of one room unless room is empty, and of one session unless session is empty.
//
// Spec: client-server-api#get_matrixclientv3room_keyskeys
func (s *Service) RoomKeys(ctx context.Context, user id.UserID, version string, room id.RoomID, session string) ([]storage.RoomKey, error) {
	var out []storage.RoomKey
	err := s.store.View(ctx, func(tx *storage.ReadTx) error {
		b, err := existing(tx, user, version)
		if err != nil {
			return err
		}
		out, err = tx.RoomKeys(user, b.Version, room, session)
		return err
	})
	return out, err
}

// PutRoomKeys stores keys in the current backup, where they are better than those it has. Another version than the current one is
// M_WRONG_ROOM_KEYS_VERSION.
//
// Spec: client-server-api#put_matrixclientv3room_keyskeys
func (s *Service) PutRoomKeys(ctx context.Context, user id.UserID, version string, keys []storage.RoomKey) (storage.KeyBackup, error) {
	for _, k := range keys {
		switch {
		case len(k.Data) == 0 || k.Data[0] != '{':
			return storage.KeyBackup{}, merr.New(merr.BadJSON, "session_data is not an object")
		case len(k.Data) > maxObject:
			return storage.KeyBackup{}, merr.Newf(merr.TooLarge, "session_data must not be longer than %d bytes", maxObject)
		case !goodName(k.Session) || !goodName(string(k.Room)):
			return storage.KeyBackup{}, merr.New(merr.InvalidParam, "The id of a room or session is empty or too long")
		case k.FirstMessage < 0 || k.Forwarded < 0:
			return storage.KeyBackup{}, merr.New(merr.InvalidParam, "first_message_index and forwarded_count must not be negative")
		}
	}
	return s.changeKeys(ctx, func(tx *storage.Tx) (storage.KeyBackup, error) {
		b, err := current(&tx.ReadTx, user, version)
		if err != nil {
			return b, err
		}
		return tx.SetRoomKeys(user, b.Version, keys)
	})
}

// DeleteRoomKeys removes keys from a backup, chosen like those of RoomKeys.
//
// Spec: client-server-api#delete_matrixclientv3room_keyskeys
func (s *Service) DeleteRoomKeys(ctx context.Context, user id.UserID, version string, room id.RoomID, session string) (storage.KeyBackup, error) {
	return s.changeKeys(ctx, func(tx *storage.Tx) (storage.KeyBackup, error) {
		b, err := existing(&tx.ReadTx, user, version)
		if err != nil {
			return b, err
		}
		return tx.DeleteRoomKeys(user, b.Version, room, session)
	})
}

func (s *Service) changeKeys(ctx context.Context, change func(tx *storage.Tx) (storage.KeyBackup, error)) (storage.KeyBackup, error) {
	var out storage.KeyBackup
	err := s.store.Update(ctx, func(tx *storage.Tx) (err error) {
		out, err = change(tx)
		return err
	})
	return out, err
}
