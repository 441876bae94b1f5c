package account

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"strconv"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/visibility"
	"github.com/hearthd/hearth/storage"
)

const (
	// maxDataType is the length of a type of account data in bytes, that of an event's type.
	maxDataType = 255
	// maxData is how much account data clients can make a user have, in bytes: the first answer to a sync has all of it. People with thousands
	// of rooms have one or two megabytes.
	maxData = 16 << 20
	// maxFilters is how many filters of a user are kept: clients that store another one at each start have no need of the old ones.
	maxFilters = 500
)

var errNoData = merr.New(merr.NotFound, "Account data not found.")

// Data returns account data as clients see it; no room means the global data.
func (s *Service) Data(ctx context.Context, user id.UserID, room id.RoomID, typ string) (json.RawMessage, error) {
	var d storage.AccountData
	err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		d, err = tx.AccountData(user, room, typ)
		return err
	})
	if errors.Is(err, storage.ErrNotFound) || err == nil && d.Deleted() {
		return nil, errNoData
	}
	if err == nil && room == "" && typ == storage.PushRulesType {
		return s.PushRulesContent(user, d.Content)
	}
	return d.Content, err
}

// SetData stores account data for clients. content is an object; an empty one deletes. Types that the server manages are refused with the
// status 405, and more than a user can have with M_USER_LIMIT_EXCEEDED.
//
// Spec: client-server-api#client-config, MSC3391
func (s *Service) SetData(ctx context.Context, user id.UserID, room id.RoomID, typ string, content json.RawMessage) error {
	switch {
	case typ == storage.PushRulesType || typ == "m.fully_read":
		return merr.Newf(merr.BadJSON, "Cannot set %s through this API.", typ).WithStatus(405)
	case len(typ) > maxDataType:
		return merr.Newf(merr.InvalidParam, "A type must not be longer than %d bytes", maxDataType)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, content); err != nil {
		return merr.New(merr.NotJSON, "Content must be a JSON object.")
	}
	d := storage.AccountData{RoomID: room, Type: typ, Content: compact.Bytes()}
	return s.store.Update(ctx, func(tx *storage.Tx) error {
		if err := s.hasSpace(tx, user, d); err != nil {
			return err
		}
		return s.setData(tx, user, d)
	})
}

// hasSpace refuses account data that is longer than what it replaces, where a user has too much already.
func (s *Service) hasSpace(tx *storage.Tx, user id.UserID, d storage.AccountData) error {
	old, err := tx.AccountData(user, d.RoomID, d.Type)
	switch {
	case errors.Is(err, storage.ErrNotFound):
	case err != nil || len(d.Content) <= len(old.Content):
		return err
	}
	size, err := tx.AccountDataSize(user)
	if err == nil && size+int64(len(d.Content)-len(old.Content)) > maxData {
		// Spec: client-server-api#common-error-codes
		err = merr.Newf(merr.UserLimitExceeded, "Nobody can have more than %d bytes of account data", maxData).
			With("info_uri", s.config.Get().BaseURL())
	}
	return err
}

// setData stores account data at a fresh position of the stream.
func (s *Service) setData(tx *storage.Tx, user id.UserID, d storage.AccountData) error {
	pos, err := s.changed(tx, user)
	if err != nil {
		return err
	}
	d.Pos = pos
	if d.RoomID == "" && (d.Type == storage.PushRulesType || d.Type == visibility.IgnoredType) {
		tx.OnCommit(func() { s.notifier.Forget(user) })
	}
	return tx.SetAccountData(user, d)
}

// AddFilter stores a filter that was found valid and returns its id. The same filter keeps its id.
func (s *Service) AddFilter(ctx context.Context, user id.UserID, definition json.RawMessage) (string, error) {
	var compact bytes.Buffer
	if err := json.Compact(&compact, definition); err != nil {
		return "", merr.New(merr.NotJSON, "The filter is not JSON")
	}
	hash := storage.TokenHash(sha256.Sum256(compact.Bytes()))
	var number int64
	err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		number, err = tx.FilterByHash(user, hash)
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		err = s.store.Update(ctx, func(tx *storage.Tx) (err error) {
			number, err = tx.PutFilter(user, hash, compact.Bytes(), maxFilters)
			return err
		})
	}
	return strconv.FormatInt(number, 10), err
}

// Filter returns the definition of a filter, or M_NOT_FOUND.
func (s *Service) Filter(ctx context.Context, user id.UserID, filter string) (json.RawMessage, error) {
	number, err := strconv.ParseInt(filter, 10, 64)
	if err != nil {
		return nil, errNoFilter
	}
	var out json.RawMessage
	err = s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		out, err = tx.Filter(user, number)
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		err = errNoFilter
	}
	return out, err
}

var errNoFilter = merr.New(merr.NotFound, "Unknown filter")
