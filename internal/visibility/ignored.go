package visibility

import (
	"errors"
	"fmt"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// Ignored is the users whose messages and invites somebody does not want to see. Nil is nobody.
type Ignored map[id.UserID]struct{}

// maxIgnored bounds what one user's list may make every one of their requests cost.
const maxIgnored = 10000

// IgnoredType is the account data that holds the list.
const IgnoredType = "m.ignored_user_list"

// LoadIgnored reads whom a user ignores.
func LoadIgnored(tx *storage.ReadTx, user id.UserID) (Ignored, error) {
	data, err := tx.AccountData(user, "", IgnoredType)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("load the ignored users: %w", err)
	}
	return ParseIgnored(data.Content, user), nil
}

// ParseIgnored reads the content of m.ignored_user_list. Nobody can ignore themselves, for they would lose their own messages.
//
// Spec: client-server-api#mignored_user_list
func ParseIgnored(content []byte, user id.UserID) Ignored {
	var out Ignored
	users := gjson.GetBytes(content, "ignored_users")
	if !users.IsObject() {
		return nil
	}
	users.ForEach(func(key, _ gjson.Result) bool {
		if u := id.UserID(key.Str); u != user {
			if out == nil {
				out = Ignored{}
			}
			out[u] = struct{}{}
		}
		return len(out) < maxIgnored
	})
	return out
}

// Has reports whether a user is ignored.
func (i Ignored) Has(user id.UserID) bool {
	_, ok := i[user]
	return ok
}

// Hides reports whether an event is not to be shown. State is always shown, because clients need it to understand the room.
//
// Spec: client-server-api#ignoring-users
func (i Ignored) Hides(ev *storage.Event) bool { return ev.StateKey == nil && i.Has(ev.Sender) }

// Users lists the ignored users, in no order.
func (i Ignored) Users() []id.UserID {
	out := make([]id.UserID, 0, len(i))
	for u := range i {
		out = append(out, u)
	}
	return out
}
