package syncer

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/sliding"
	"github.com/hearthd/hearth/internal/token"
	"github.com/hearthd/hearth/storage"
)

// knowledge is what a client has been told of a room on a connection. A room that the client knows up to its position is live, and stays as it is
// while things happen in it: only what changes the nature of a room is written down. A room in which something has happened of which the
// client was not told, because it was outside of all lists then, is behind until the client is told.
type knowledge struct {
	known  bool
	behind int64 // up to where the client knows the room; live for one that it knows as far as its position says
	choice int   // of state, by number
	limit  int   // at least so many of the newest events up to there have been told
	dm     bool
}

const live = -1

func (t knowledge) String() string {
	if !t.known {
		return ""
	}
	dm := 0
	if t.dm {
		dm = 1
	}
	return fmt.Sprint(t.behind, t.choice, t.limit, dm)
}

// parseTold reads what String writes.
func parseTold(text string) (knowledge, error) {
	if text == "" {
		return knowledge{}, nil
	}
	fields := strings.Fields(text)
	if len(fields) != 4 {
		return knowledge{}, fmt.Errorf("%q does not say what a client was told", text)
	}
	behind, err1 := strconv.ParseInt(fields[0], 10, 64)
	choice, err2 := strconv.Atoi(fields[1])
	limit, err3 := strconv.Atoi(fields[2])
	return knowledge{true, behind, choice, limit, fields[3] == "1"}, errors.Join(err1, err2, err3)
}

// upTo is the position up to which the client knows the room when it comes with a position.
func (t knowledge) upTo(since int64) int64 {
	if t.behind == live {
		return since
	}
	return t.behind
}

// memory is what was told of a room by the answer seq, and before it.
type memory struct {
	seq         int64
	now, before knowledge
}

// connection is one connection of sliding sync. The last answer that changed it has the number row.Seq; until the client comes with the
// position of that answer it may come with the one of the answer before, and everything must be as it was then.
//
// Spec: MSC4186#connections
type connection struct {
	row     storage.SlidingConnection
	rooms   map[int64]memory
	choices []*sliding.Choice
	numbers map[string]int // of choices, by text
	stored  int            // how many of the choices are stored
	pending []int64        // the rooms that the answer row.Seq changed

	// What was asked last, at which point, and how many rooms the lists had: the same question is not looked into again if nothing has
	// happened since.
	asked   [32]byte
	point   token.Sliding
	counts  map[string]int
	shape   *shape
	covered bool // all rooms of all lists were in range
}

// maxChoices is how many choices of state a connection can have made; then it has to begin anew.
const maxChoices = 1000

func newConnection(user id.UserID, device id.DeviceID, name string) *connection {
	return &connection{row: storage.SlidingConnection{User: user, Device: device, Name: name}, rooms: map[int64]memory{}, numbers: map[string]int{}}
}

// loadConnection reads a connection; storage.ErrNotFound if there is none.
func loadConnection(tx *storage.ReadTx, k connectionKey) (*connection, error) {
	c := newConnection(k.user, k.device, k.name)
	var err error
	if c.row, err = tx.SlidingConnection(k.user, k.device, k.name); err != nil {
		return nil, err
	}
	choices, err := tx.SlidingChoices(c.row.NID)
	if err != nil {
		return nil, err
	}
	for i, row := range choices {
		choice, err := sliding.ParseChoice(row.Choice)
		if err != nil {
			return nil, err
		}
		c.choices = append(c.choices, choice)
		c.numbers[row.Choice] = i
	}
	c.stored = len(choices)
	rooms, err := tx.SlidingRooms(c.row.NID)
	for _, row := range rooms {
		now, err1 := parseTold(row.Told)
		before, err2 := parseTold(row.Before)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		if now.choice >= c.stored || before.choice >= c.stored {
			return nil, fmt.Errorf("connection %d refers to a choice of state that it has not made", c.row.NID)
		}
		c.rooms[row.Room] = memory{row.Seq, now, before}
		if row.Seq == c.row.Seq {
			c.pending = append(c.pending, row.Room)
		}
	}
	return c, err
}

// resume goes on from a position, and reports whether it can.
func (c *connection) resume(from token.Sliding) bool {
	switch {
	case c == nil || from.Conn != c.row.NID:
		return false
	case from.Seq == c.row.Seq:
		// The client has got the last answer.
		if c.row.Confirmed != c.row.Seq {
			c.row.Confirmed, c.row.ExtrasBefore, c.pending = c.row.Seq, c.row.Extras, nil
		}
		return true
	}
	return from.Seq == c.row.Confirmed
}

// told is what the client has been told of a room when it comes with the position of an answer.
func (c *connection) told(room, seq int64) knowledge {
	m := c.rooms[room]
	if m.seq <= seq {
		return m.now
	}
	return m.before
}

// extras is what the client has been told beside rooms.
func (c *connection) extras(seq int64) string {
	if seq == c.row.Seq {
		return c.row.Extras
	}
	return c.row.ExtrasBefore
}

// number is that of a choice of state, which may be new.
func (c *connection) number(choice *sliding.Choice) (int, error) {
	n, ok := c.numbers[choice.Text()]
	if ok {
		return n, nil
	}
	if n = len(c.choices); n >= maxChoices {
		return 0, unknownPos()
	}
	c.choices = append(c.choices, choice)
	c.numbers[choice.Text()] = n
	return n, nil
}

// change is what an answer changes of a connection.
type change struct {
	from   token.Sliding // the position that the client came with
	rooms  map[int64]knowledge
	extras string
}

// none reports whether there is nothing to be written down.
func (ch *change) none(c *connection) bool {
	return c.row.NID != 0 && len(ch.rooms) == 0 && ch.extras == c.extras(ch.from.Seq)
}

// save writes a change down, which is the answer to a client that comes with a position, and makes c what it is after it.
func (c *connection) save(tx *storage.Tx, ch *change, now int64, most int) error {
	row := c.row
	row.Seq, row.Confirmed, row.Used = c.row.Seq+1, ch.from.Seq, now
	row.Extras, row.ExtrasBefore = ch.extras, c.extras(ch.from.Seq)
	var err error
	if row.NID == 0 {
		err = tx.OpenSlidingConnection(&row, most)
	} else {
		err = tx.SaveSlidingConnection(row)
	}
	if err != nil {
		return err
	}
	for i := c.stored; i < len(c.choices); i++ {
		if err := tx.AddSlidingChoice(row.NID, storage.SlidingChoice{Number: int64(i), Choice: c.choices[i].Text()}); err != nil {
			return err
		}
	}
	rooms := make(map[int64]memory, len(ch.rooms))
	if ch.from.Seq != c.row.Seq {
		// The last answer did not arrive: what it told is not known to the client.
		for _, room := range c.pending {
			before := c.rooms[room].before
			rooms[room] = memory{ch.from.Seq, before, before}
		}
	}
	pending := make([]int64, 0, len(ch.rooms))
	for room, t := range ch.rooms {
		rooms[room] = memory{row.Seq, t, c.told(room, ch.from.Seq)}
		pending = append(pending, room)
	}
	for room, m := range rooms {
		if err := tx.SaveSlidingRoom(row.NID, storage.SlidingRoom{Room: room, Seq: m.seq, Told: m.now.String(), Before: m.before.String()}); err != nil {
			return err
		}
	}
	tx.OnCommit(func() {
		c.row, c.pending, c.stored = row, pending, len(c.choices)
		for room, m := range rooms {
			c.rooms[room] = m
		}
	})
	return nil
}

const (
	maxConnections = 16                       // of a device
	idleConnection = 30 * 24 * 60 * 60 * 1000 // milliseconds after which a connection that nobody uses may go
	maxDropped     = 100                      // of them at a time
	usedEvery      = 24 * 60 * 60 * 1000      // milliseconds between two notes that a connection is in use
)

// commit writes down what an answer changes and returns the number that goes into its position.
func (s *Syncer) commit(ctx context.Context, c *connection, ch *change) (conn, seq int64, err error) {
	now := s.clock.Now().UnixMilli()
	if ch.none(c) {
		if now-c.row.Used < usedEvery {
			return c.row.NID, ch.from.Seq, nil
		}
		row := c.row
		row.Used = now
		err = s.store.Update(ctx, func(tx *storage.Tx) error { return tx.SaveSlidingConnection(row) })
		if err == nil {
			c.row.Used = now
		}
	} else {
		err = s.store.Update(ctx, func(tx *storage.Tx) error {
			if c.row.NID == 0 {
				if err := tx.DropIdleConnections(now-idleConnection, maxDropped); err != nil {
					return err
				}
			}
			return c.save(tx, ch, now, maxConnections)
		})
		ch.from.Seq = c.row.Seq
	}
	if errors.Is(err, storage.ErrNotFound) {
		if c.row.NID == 0 {
			return 0, 0, merr.New(merr.Forbidden, "Sliding sync is for devices, and this session has none")
		}
		return 0, 0, unknownPos()
	}
	if err != nil {
		return 0, 0, fmt.Errorf("save a connection: %w", err)
	}
	return c.row.NID, ch.from.Seq, nil
}

func unknownPos() error {
	return merr.New(merr.UnknownPos, "The position is not known any more: begin a new connection").WithStatus(400)
}
