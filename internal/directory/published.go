package directory

import (
	"slices"
	"strconv"
	"strings"

	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// Query says which published rooms are wanted.
type Query struct {
	Term  string    // in the name, the topic, an alias or the id; any case
	Types []*string // nil for all; a nil element stands for rooms without a type
	Limit int       // 0 for all
	Since string    // a token of the page before or after
}

// Listing is a page of the published rooms.
//
// Spec: client-server-api#post_matrixclientv3publicrooms
type Listing struct {
	Chunk []Entry `json:"chunk"`
	Next  string  `json:"next_batch,omitempty"`
	Prev  string  `json:"prev_batch,omitempty"`
	Total int     `json:"total_room_count_estimate"`
}

// maxListing bounds a page.
const maxListing = 1000

// Published lists the rooms that were published, those with most members first.
func Published(tx *storage.ReadTx, q Query) (Listing, error) {
	out := Listing{Chunk: []Entry{}}
	start, err := offset(q.Since)
	if err != nil {
		return out, err
	}
	limit := q.Limit
	if limit <= 0 || limit > maxListing {
		limit = maxListing
	}
	rooms, err := tx.PublishedRooms()
	if err != nil {
		return out, err
	}
	term := strings.ToLower(q.Term)
	for _, room := range rooms {
		if room.Summary.Joined == 0 || !q.wantsType(room.Summary.Type) || !mentions(room, term) {
			continue
		}
		if out.Total >= start && len(out.Chunk) < limit {
			out.Chunk = append(out.Chunk, entry(room))
		}
		out.Total++
	}
	if end := start + len(out.Chunk); end < out.Total && len(out.Chunk) > 0 {
		out.Next = strconv.Itoa(end)
	}
	if start > 0 {
		out.Prev = strconv.Itoa(max(start-limit, 0))
	}
	return out, nil
}

func offset(token string) (int, error) {
	if token == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(token)
	if err != nil || n < 0 {
		return 0, merr.New(merr.InvalidParam, "The pagination token is not one of this server")
	}
	return n, nil
}

func (q Query) wantsType(typ string) bool {
	return q.Types == nil || slices.ContainsFunc(q.Types, func(t *string) bool { return t == nil && typ == "" || t != nil && typ != "" && *t == typ })
}

// mentions reports whether a room's description has the lower-case term in it.
func mentions(room *storage.Room, term string) bool {
	if term == "" {
		return true
	}
	for _, text := range []string{room.Summary.Name, room.Summary.Topic, room.Summary.CanonicalAlias, string(room.ID)} {
		if strings.Contains(strings.ToLower(text), term) {
			return true
		}
	}
	return false
}
