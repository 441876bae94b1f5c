package account

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

const (
	tagType     = "m.tag"
	maxTag      = 255      // bytes of a name
	maxTagsSize = 64 << 10 // bytes of all tags of a room
)

// tags is the content of m.tag.
type tags struct {
	Tags map[string]json.RawMessage `json:"tags"`
}

// Tags returns the tags of a room by name.
func (s *Service) Tags(ctx context.Context, user id.UserID, room id.RoomID) (map[string]json.RawMessage, error) {
	var out tags
	err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		out, err = roomTags(tx, user, room)
		return err
	})
	return out.Tags, err
}

func roomTags(tx *storage.ReadTx, user id.UserID, room id.RoomID) (tags, error) {
	out := tags{Tags: map[string]json.RawMessage{}}
	d, err := tx.AccountData(user, room, tagType)
	if errors.Is(err, storage.ErrNotFound) {
		return out, nil
	}
	if err != nil {
		return out, err
	}
	// Clients can also write m.tag as account data, and then whatever they like.
	if json.Unmarshal(d.Content, &out) != nil || out.Tags == nil {
		out.Tags = map[string]json.RawMessage{}
	}
	return out, nil
}

// SetTag puts a tag on a room. content is an object whose order, if there is one, is a number.
//
// Spec: client-server-api#room-tagging
func (s *Service) SetTag(ctx context.Context, user id.UserID, room id.RoomID, tag string, content json.RawMessage) error {
	if len(tag) > maxTag {
		return merr.Newf(merr.InvalidParam, "The name of a tag must not be longer than %d bytes", maxTag)
	}
	var known struct {
		Order *float64 `json:"order"`
	}
	if err := decode(content, &known); err != nil {
		return err
	}
	if known.Order != nil && (*known.Order < 0 || *known.Order > 1) {
		return merr.New(merr.InvalidParam, "The order of a tag must be between 0 and 1")
	}
	return s.editTags(ctx, user, room, func(t map[string]json.RawMessage) bool {
		t[tag] = content
		return true
	})
}

// DeleteTag takes a tag from a room. One that is not there is no error.
func (s *Service) DeleteTag(ctx context.Context, user id.UserID, room id.RoomID, tag string) error {
	return s.editTags(ctx, user, room, func(t map[string]json.RawMessage) bool {
		_, there := t[tag]
		delete(t, tag)
		return there
	})
}

// editTags stores the tags of a room if edit says that it changed them.
func (s *Service) editTags(ctx context.Context, user id.UserID, room id.RoomID, edit func(map[string]json.RawMessage) bool) error {
	return s.store.Update(ctx, func(tx *storage.Tx) error {
		all, err := roomTags(&tx.ReadTx, user, room)
		if err != nil || !edit(all.Tags) {
			return err
		}
		content, err := json.Marshal(all)
		if err != nil {
			return err
		}
		if len(content) > maxTagsSize {
			return merr.New(merr.TooLarge, "The room has too many tags")
		}
		return s.setData(tx, user, storage.AccountData{RoomID: room, Type: tagType, Content: content})
	})
}
