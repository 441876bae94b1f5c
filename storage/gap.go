package storage

import (
	"encoding/json"
	"fmt"

	"github.com/hearthd/hearth/internal/id"
)

// gapSize is how many positions a gap reserves: more than the events of any room. The stream has room for 2^39 gaps.
const gapSize = 1 << 24

// Gap is a part of a room's history that is missing here. It lies between the events before Floor and those after Next, and reserves the
// positions from Floor to Next for what will be fetched.
type Gap struct {
	Room    int64
	Floor   int64
	Next    int64        // the place of the next event that is fetched
	Missing []id.EventID // the events that are known to be in the gap; nearest first, as far as one can tell
}

// End is the last of the positions that the gap reserved.
func (g Gap) End() int64 { return g.Floor + gapSize - 1 }

const gapColumns = `room, floor, next, missing`

func scanGap(r rowScanner) (g Gap, err error) {
	var missing string
	if err = r.Scan(&g.Room, &g.Floor, &g.Next, &missing); err != nil {
		return g, err
	}
	if err := json.Unmarshal([]byte(missing), &g.Missing); err != nil {
		return g, fmt.Errorf("read a gap: %w", err)
	}
	return g, nil
}

// GapBelow is the highest gap of a room that begins before a position: the first that a walk back from there comes to.
func (tx *ReadTx) GapBelow(room, pos int64) (Gap, error) {
	return scanGap(tx.queryRow(`select `+gapColumns+` from gaps where room = $1 and floor < $2 order by floor desc limit 1`, room, pos))
}

// Gap is the gap of a room that begins at a position.
func (tx *ReadTx) Gap(room, floor int64) (Gap, error) {
	return scanGap(tx.queryRow(`select `+gapColumns+` from gaps where room = $1 and floor = $2`, room, floor))
}

// GapWithin is the highest gap of a room that begins within a span. Mostly it knows from memory that there is none.
func (tx *ReadTx) GapWithin(room int64, span Span) (Gap, error) {
	if tx.writer == nil && tx.store.gaps.unchanged(room, span.After) {
		return Gap{}, ErrNotFound
	}
	return scanGap(tx.queryRow(`select `+gapColumns+` from gaps where room = $1 and floor > $2 and floor <= $3 order by floor desc limit 1`,
		room, span.After, span.UpTo))
}

// Gaps is the gaps of a room, newest first.
func (tx *ReadTx) Gaps(room int64) ([]Gap, error) {
	return collect(tx, scanGap, `select `+gapColumns+` from gaps where room = $1 order by floor desc`, room)
}

// AddGap makes a gap behind everything that the room has; the next position that is taken comes after it.
func (tx *Tx) AddGap(room int64, missing []id.EventID) (Gap, error) {
	floor, err := tx.NextPos()
	if err != nil {
		return Gap{}, err
	}
	tx.writer.ends.pos += gapSize - 1
	g := Gap{Room: room, Floor: floor, Next: floor + gapSize - 1, Missing: missing}
	tx.OnCommit(func() { tx.store.gaps.set(room, g.Next) })
	return g, tx.writeGap(g)
}

// SaveGap writes what has become of a gap; one in which nothing is missing any more is removed.
func (tx *Tx) SaveGap(g Gap) error {
	if len(g.Missing) > 0 && g.Next >= g.Floor {
		return tx.writeGap(g)
	}
	_, err := tx.exec(`delete from gaps where room = $1 and floor = $2`, g.Room, g.Floor)
	return err
}

func (tx *Tx) writeGap(g Gap) error {
	missing, err := json.Marshal(g.Missing)
	if err != nil {
		return fmt.Errorf("write a gap: %w", err)
	}
	_, err = tx.exec(`insert into gaps (`+gapColumns+`) values ($1, $2, $3, $4)
		on conflict (room, floor) do update set next = excluded.next, missing = excluded.missing`, g.Room, g.Floor, g.Next, string(missing))
	return err
}
