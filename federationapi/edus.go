package federationapi

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/serveracl"
	"github.com/hearthd/hearth/storage"
)

// maxReceiptRooms bounds the rooms of one m.receipt.
const maxReceiptRooms = 1000

// receiveEDUs gives each message to who is concerned, in order. What is not understood is dropped, as there is nobody to tell.
//
// Spec: server-server-api#edus
func (a *API) receiveEDUs(ctx context.Context, origin id.ServerName, edus []json.RawMessage) {
	for _, raw := range edus {
		typ, err := a.receiveEDU(ctx, origin, raw)
		if err != nil {
			a.log.DebugContext(ctx, "EDU dropped", "origin", origin, "type", typ, "error", err)
		}
	}
}

var (
	errNoEDU    = errors.New("it is malformed")
	errStranger = errors.New("it speaks for a user of another server")
	errDenied   = errors.New("the room does not let the server in")
)

// receiveEDU dispatches one message. The type is empty where it is none of those known.
func (a *API) receiveEDU(ctx context.Context, origin id.ServerName, raw json.RawMessage) (typ string, err error) {
	var edu struct {
		Type    string          `json:"edu_type"`
		Content json.RawMessage `json:"content"`
	}
	if json.Unmarshal(raw, &edu) != nil || len(edu.Content) == 0 || edu.Content[0] != '{' {
		return "", errNoEDU
	}
	switch edu.Type {
	case "m.typing":
		err = a.receiveTyping(ctx, origin, edu.Content)
	case "m.receipt":
		err = a.receiveReceipts(ctx, origin, edu.Content)
	case "m.presence":
		err = a.ephemera.ReceivePresence(ctx, origin, edu.Content)
	case "m.device_list_update":
		err = a.keys.ReceiveDeviceList(ctx, origin, edu.Content)
	case "m.direct_to_device":
		err = a.keys.ReceiveToDevice(ctx, origin, edu.Content)
	case "m.signing_key_update", "org.matrix.signing_key_update":
		err = a.keys.ReceiveSigningKeys(ctx, origin, edu.Content)
	default:
		return "", nil
	}
	return edu.Type, err
}

// typingUpdate is the content of an m.typing.
//
// Spec: server-server-api#typing-notifications
type typingUpdate struct {
	Room   string `json:"room_id"`
	User   string `json:"user_id"`
	Typing bool   `json:"typing"`
}

func (a *API) receiveTyping(ctx context.Context, origin id.ServerName, content json.RawMessage) error {
	var c typingUpdate
	if json.Unmarshal(content, &c) != nil {
		return errNoEDU
	}
	room, err := id.ParseRoomID(c.Room)
	if err != nil {
		return err
	}
	user, err := id.ParseUserID(c.User)
	if err != nil {
		return err
	}
	if user.Server() != origin {
		return errStranger
	}
	if err := a.letsIn(ctx, room, origin); err != nil {
		return err
	}
	return a.ephemera.ReceiveTyping(ctx, origin, room, user, c.Typing)
}

// receiveReceipts takes the receipts of those rooms that let the origin in.
//
// Spec: server-server-api#receipts
func (a *API) receiveReceipts(ctx context.Context, origin id.ServerName, content json.RawMessage) error {
	var rooms map[string]json.RawMessage
	if json.Unmarshal(content, &rooms) != nil || len(rooms) > maxReceiptRooms {
		return errNoEDU
	}
	var problems []error
	for name, receipts := range rooms {
		room, err := id.ParseRoomID(name)
		if err == nil {
			receipts, err = ownReceipts(receipts, origin)
		}
		if err == nil {
			err = a.letsIn(ctx, room, origin)
		}
		if err == nil && receipts != nil {
			err = a.ephemera.ReceiveReceipts(ctx, origin, room, receipts)
		}
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// ownReceipts leaves of the receipts of a room, by type and user, those of users of a server; nil if there are none.
func ownReceipts(receipts json.RawMessage, origin id.ServerName) (json.RawMessage, error) {
	var byType map[string]map[string]json.RawMessage
	if json.Unmarshal(receipts, &byType) != nil {
		return nil, errNoEDU
	}
	for typ, byUser := range byType {
		for name := range byUser {
			if user, err := id.ParseUserID(name); err != nil || user.Server() != origin {
				delete(byUser, name)
			}
		}
		if len(byUser) == 0 {
			delete(byType, typ)
		}
	}
	if len(byType) == 0 {
		return nil, nil
	}
	return json.Marshal(byType)
}

// letsIn asks the access list of a room that is known here.
//
// Spec: server-server-api#server-access-control-lists-acls
func (a *API) letsIn(ctx context.Context, room id.RoomID, origin id.ServerName) error {
	return a.store.View(ctx, func(tx *storage.ReadTx) error {
		nid, err := tx.RoomNID(room)
		if err != nil {
			return err
		}
		acl, err := serveracl.In(tx, nid)
		if err == nil && !acl.Allows(origin) {
			err = errDenied
		}
		return err
	})
}
