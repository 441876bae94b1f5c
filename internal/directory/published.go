package directory

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// Query says which published rooms are wanted.
type Query struct {
	Term  string    // in the name, the topic, an alias or the id; any case
	Types []*string // nil for all; a nil element stands for rooms without a type
	Limit int       // 0 for all
	Since string    // a token of the page before or after
	Network
}

// Network says of which networks rooms are wanted, beside Matrix itself.
//
// Spec: application-service-api#published-room-directories
type Network struct {
	Instance string // of this one alone
	All      bool   // of all networks, and those of none
}

// Check refuses what contradicts itself.
func (n Network) Check() error {
	if n.Instance != "" && n.All {
		return merr.New(merr.InvalidParam, "third_party_instance_id cannot be used with include_all_networks")
	}
	return nil
}

// rooms is all rooms of the wanted networks, as far as they are those of some application services.
func (n Network) rooms(tx *storage.ReadTx, appservices []string) ([]*storage.Room, error) {
	switch {
	case n.Instance != "":
		return tx.NetworkRooms(n.Instance, appservices)
	case n.All:
		return tx.RoomsOfAllNetworks(appservices)
	}
	return tx.PublishedRooms()
}

// Search is what clients and servers send that look for published rooms.
//
// Spec: client-server-api#post_matrixclientv3publicrooms, server-server-api#post_matrixfederationv1publicrooms
type Search struct {
	Limit  int    `json:"limit"`
	Since  string `json:"since"`
	Filter struct {
		Term  string    `json:"generic_search_term"`
		Types []*string `json:"room_types"`
	} `json:"filter"`
	AllNetworks bool   `json:"include_all_networks"`
	Instance    string `json:"third_party_instance_id"`
}

// Query is what to look for.
func (s Search) Query() Query {
	return Query{
		Limit: s.Limit, Since: s.Since, Term: s.Filter.Term, Types: s.Filter.Types, Network: Network{Instance: s.Instance, All: s.AllNetworks},
	}
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

// Published lists the rooms that were published, here or by some application services, those with most members first.
func Published(tx *storage.ReadTx, q Query, appservices []string) (Listing, error) {
	out := Listing{Chunk: []Entry{}}
	start, err := offset(q.Since)
	if err != nil {
		return out, err
	}
	limit := q.Limit
	if limit <= 0 || limit > maxListing {
		limit = maxListing
	}
	rooms, err := q.rooms(tx, appservices)
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

// Published lists the rooms that a server has published: this one, or another, which is asked.
func (s *Service) Published(ctx context.Context, server id.ServerName, q Query) (out Listing, err error) {
	if err := q.Check(); err != nil {
		return out, err
	}
	if server != "" && server != s.server {
		return s.publishedElsewhere(ctx, server, q)
	}
	err = s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		out, err = Published(tx, q, s.bridges.IDs())
		return err
	})
	return out, err
}

// List puts a room into an application service's directory of a network or takes it out. The error for a room that is not here is
// M_NOT_FOUND.
//
// Spec: client-server-api#put_matrixclientv3directorylistappservicenetworkidroomid
func (s *Service) List(ctx context.Context, network storage.Instance, room id.RoomID, listed bool) error {
	return s.store.Update(ctx, func(tx *storage.Tx) error {
		nid, err := tx.RoomNID(room)
		if errors.Is(err, storage.ErrNotFound) {
			return merr.New(merr.NotFound, "There is no such room here")
		}
		if err != nil {
			return err
		}
		return tx.SetListed(network, nid, listed)
	})
}

const (
	listingTimeout = 30 * time.Second
	// remotePage is how many rooms another server is asked for by a client that does not say.
	remotePage = 100
	maxToken   = 2048 // bytes of a pagination token of another server
)

// Spec: server-server-api#post_matrixfederationv1publicrooms
func (s *Service) publishedElsewhere(ctx context.Context, server id.ServerName, q Query) (Listing, error) {
	type filter struct {
		Term  string    `json:"generic_search_term,omitempty"`
		Types []*string `json:"room_types,omitempty"`
	}
	if len(q.Since) > maxToken {
		return Listing{}, merr.New(merr.InvalidParam, "The pagination token is too long")
	}
	limit := q.Limit
	if limit <= 0 {
		limit = remotePage
	}
	limit = min(limit, maxListing)
	body, err := json.Marshal(struct {
		Limit       int    `json:"limit"`
		Since       string `json:"since,omitempty"`
		Filter      filter `json:"filter"`
		AllNetworks bool   `json:"include_all_networks"`
		Instance    string `json:"third_party_instance_id,omitempty"`
	}{limit, q.Since, filter{q.Term, q.Types}, q.All, q.Instance})
	if err != nil {
		return Listing{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, listingTimeout)
	defer cancel()
	unknown := merr.Newf(merr.NotFound, "%s has no room directory", server)
	raw, err := s.remote.PublicRooms(ctx, server, body)
	if err != nil {
		return Listing{}, s.failure(server, err, unknown)
	}
	out, err := parseListing(raw, limit)
	if err != nil {
		return Listing{}, s.failure(server, err, unknown)
	}
	return out, nil
}

// parseListing reads a page of another server. Rooms that make no sense are left out.
func parseListing(raw json.RawMessage, limit int) (Listing, error) {
	var page struct {
		Chunk []json.RawMessage `json:"chunk"`
		Next  string            `json:"next_batch"`
		Prev  string            `json:"prev_batch"`
		Total int               `json:"total_room_count_estimate"`
	}
	out := Listing{Chunk: []Entry{}}
	if err := json.Unmarshal(raw, &page); err != nil {
		return out, err
	}
	for _, r := range page.Chunk[:min(len(page.Chunk), limit)] {
		var e Entry
		if json.Unmarshal(r, &e) == nil && e.tidy() {
			out.Chunk = append(out.Chunk, e)
		}
	}
	if len(page.Next) <= maxToken && len(page.Prev) <= maxToken {
		out.Next, out.Prev = page.Next, page.Prev
	}
	out.Total = max(page.Total, len(out.Chunk))
	return out, nil
}

// Bounds of what other servers say about rooms, in bytes. Whole events are not longer than 64 KiB.
const (
	maxName  = 4 << 10
	maxTopic = 64 << 10
	maxWord  = 255
)

// tidy looks over what another server says about a room, and reports whether it makes sense.
func (e *Entry) tidy() bool {
	if _, err := id.ParseRoomID(string(e.RoomID)); err != nil || len(e.Name) > maxName || len(e.Topic) > maxTopic ||
		len(e.JoinRule) > maxWord || len(e.Type) > maxWord {
		return false
	}
	if _, err := id.ParseRoomAlias(e.CanonicalAlias); err != nil {
		e.CanonicalAlias = ""
	}
	if _, err := id.ParseMXC(e.AvatarURL); err != nil {
		e.AvatarURL = ""
	}
	if e.JoinRule == "" {
		// Spec: client-server-api#get_matrixclientv3publicrooms: when not present, the room is assumed to be public.
		e.JoinRule = "public"
	}
	e.Joined = max(e.Joined, 0)
	return true
}
