package hub

import "github.com/hearthd/hearth/internal/id"

// Key is what can be watched and rung. Keys are comparable and made by the functions below.
type Key struct {
	kind byte
	name string
}

// ofUser is the kind of keys of users.
const ofUser = 'u'

// User is everything that concerns a user on all devices.
func User(u id.UserID) Key { return Key{ofUser, string(u)} }

// Users is the keys of several users.
func Users(users []id.UserID) []Key {
	keys := make([]Key, len(users))
	for i, u := range users {
		keys[i] = User(u)
	}
	return keys
}

// Room is everything that happens in a room.
func Room(r id.RoomID) Key { return Key{'r', string(r)} }

// Room is the room of a key that the function of that name made.
func (k Key) Room() (id.RoomID, bool) { return id.RoomID(k.name), k.kind == 'r' }

// Named is the name of a key that Name made with a kind.
func (k Key) Named(kind byte) (string, bool) { return k.name, k.kind == kind }

// Device is what concerns one device of a user, such as messages to it.
func Device(u id.UserID, d id.DeviceID) Key { return Key{'d', string(u) + "\x00" + string(d)} }

// Media is a medium that somebody waits for to be uploaded.
func Media(m id.MXC) Key { return Key{'m', m.String()} }

// Everything is rung whenever a position of the stream is, whatever key that was for. It is for those few who follow the whole stream. What
// was last rung for it is not remembered: the stream itself says that.
func Everything() Key { return Key{'e', ""} }

// Name is for all else. The kinds are lower-case letters of the functions above and must not be used; take an upper-case one.
func Name(kind byte, name string) Key { return Key{kind, name} }
