package account

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/push"
	"github.com/hearthd/hearth/storage"
)

// PushRules returns the push rules of a user, those of the server included.
func (s *Service) PushRules(ctx context.Context, user id.UserID) (push.Ruleset, error) {
	var stored push.Stored
	err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		stored, err = storedPushRules(tx, user)
		return err
	})
	return s.book.Effective(user, stored), err
}

func storedPushRules(tx *storage.ReadTx, user id.UserID) (push.Stored, error) {
	d, err := tx.AccountData(user, "", storage.PushRulesType)
	if errors.Is(err, storage.ErrNotFound) {
		return push.Stored{}, nil
	}
	if err != nil {
		return push.Stored{}, err
	}
	return push.ParseStored(d.Content)
}

// PushRulesContent makes the content of m.push_rules of what is stored.
func (s *Service) PushRulesContent(user id.UserID, content json.RawMessage) (json.RawMessage, error) {
	stored, err := push.ParseStored(content)
	if err != nil {
		return nil, err
	}
	return json.Marshal(push.Rules{Global: s.book.Effective(user, stored)})
}

// Outcome is what one user's push rules make of an event, actions included.
func (s *Service) Outcome(tx *storage.ReadTx, room *storage.Room, e *storage.Event, member storage.Member) (push.Outcome, error) {
	return s.notifier.Outcome(tx, room, e, member)
}

// EditPushRules changes the push rules of a user. All clients hear of it through m.push_rules.
func (s *Service) EditPushRules(ctx context.Context, user id.UserID, edit func(*push.Book, push.Stored) (push.Stored, error)) error {
	return s.store.Update(ctx, func(tx *storage.Tx) error {
		stored, err := storedPushRules(&tx.ReadTx, user)
		if err != nil {
			return err
		}
		if stored, err = edit(s.book, stored); err != nil {
			return err
		}
		content, err := json.Marshal(stored)
		if err != nil {
			return err
		}
		return s.setData(tx, user, storage.AccountData{Type: storage.PushRulesType, Content: content})
	})
}
