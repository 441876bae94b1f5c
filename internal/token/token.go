// Package token is the form in which clients carry points of the stream: opaque to them, two short texts to us. A point is between two
// positions: it is after everything up to its position and before everything else. The package refuses to know what is at a point.
package token

import (
	"strconv"
	"strings"

	"github.com/hearthd/hearth/internal/merr"
)

// Sync is a point of the stream and of the ephemeral counter: since and next_batch of /sync. Zero is before everything.
type Sync struct {
	Pos int64 // of the stream
	Eph int64 // of the ephemeral counter
}

// String is the text s<pos>_<eph>.
func (t Sync) String() string { return string(t.Append(nil)) }

// Append appends the text to buf.
func (t Sync) Append(buf []byte) []byte {
	buf = append(buf, 's')
	buf = strconv.AppendInt(buf, t.Pos, 10)
	buf = append(buf, '_')
	return strconv.AppendInt(buf, t.Eph, 10)
}

// ParseSync reads what String writes. The error is M_INVALID_PARAM.
func ParseSync(text string) (Sync, error) {
	rest, ok := strings.CutPrefix(text, "s")
	first, second, cut := strings.Cut(rest, "_")
	pos, okPos := number(first)
	eph, okEph := number(second)
	if !ok || !cut || !okPos || !okEph || pos < 0 || eph < 0 {
		return Sync{}, merr.New(merr.InvalidParam, "The sync token is not one of this server")
	}
	return Sync{pos, eph}, nil
}

// Sliding is a point of a connection of sliding sync: pos in its requests and answers.
type Sliding struct {
	Sync
	Conn  int64 // the number of the connection
	Seq   int64 // of the last answer that changed what the connection remembers
	Inbox int64 // the position up to which the device has been given its messages
}

// String is the text s<pos>_<eph>_<conn>_<seq>_<inbox>.
func (t Sliding) String() string { return string(t.Append(nil)) }

// Append appends the text to buf.
func (t Sliding) Append(buf []byte) []byte {
	buf = t.Sync.Append(buf)
	for _, n := range [...]int64{t.Conn, t.Seq, t.Inbox} {
		buf = strconv.AppendInt(append(buf, '_'), n, 10)
	}
	return buf
}

// ParseSliding reads what String writes. The error is M_UNKNOWN_POS.
func ParseSliding(text string) (Sliding, error) {
	parts := strings.Split(strings.TrimPrefix(text, "s"), "_")
	if len(parts) == 5 && strings.HasPrefix(text, "s") {
		var n [5]int64
		good := true
		for i, part := range parts {
			ok := false
			n[i], ok = number(part)
			good = good && ok && n[i] >= 0
		}
		if good {
			return Sliding{Sync: Sync{n[0], n[1]}, Conn: n[2], Seq: n[3], Inbox: n[4]}, nil
		}
	}
	return Sliding{}, merr.New(merr.UnknownPos, "The position is not one of this server")
}

// Room is a point in the history of a room, which goes below 0 where it was fetched from other servers: prev_batch, and from and to of
// /messages.
type Room int64

// String is the text t<pos>.
func (t Room) String() string { return "t" + strconv.FormatInt(int64(t), 10) }

// ParseRoom reads what String writes, and the text of a Sync or a Sliding, which is a point of every room. The error is M_INVALID_PARAM.
func ParseRoom(text string) (Room, error) {
	if rest, ok := strings.CutPrefix(text, "t"); ok {
		if pos, ok := number(rest); ok {
			return Room(pos), nil
		}
	} else if t, err := ParseSync(text); err == nil {
		return Room(t.Pos), nil
	} else if t, err := ParseSliding(text); err == nil {
		// Spec: MSC4186#connections
		return Room(t.Pos), nil
	}
	return 0, merr.New(merr.InvalidParam, "The pagination token is not one of this server")
}

// number reads an integer in the one form that is written: without a plus or leading zeros.
func number(text string) (int64, bool) {
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil && strconv.FormatInt(n, 10) == text
}
