// Package budget divides the memory that a server may use among its caches. There is one number, memory.limit in the configuration; the table
// of parts below says what becomes of it. A cache asks its Share how much it may hold, and tells it how much it holds and whether it had what
// it was asked for, which is what an operator sees as metrics.
//
// Sizes are the caches' own estimates, in bytes. The package holds nothing and frees nothing.
package budget

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// DefaultLimit is what a server may use when nothing else is said.
const DefaultLimit = 256 << 20

// Cache is a cache of the server.
type Cache string

// The caches.
const (
	Pages       Cache = "sqlite_pages"     // SQLite's, of all connections together; outside of the Go heap
	Events      Cache = "events"           // events as stored
	Memberships Cache = "memberships"      // rooms of users, by user
	States      Cache = "states"           // what the rules of rooms ask for, by state
	Lists       Cache = "room_lists"       // rooms of users as /sync lists them
	Connections Cache = "sync_connections" // what clients of sliding sync have been told
	Members     Cache = "sent_members"     // whom clients of /sync have been told of
	Words       Cache = "words"            // names and their numbers
	Rooms       Cache = "room_ids"         // ids of rooms and their numbers
	Heads       Cache = "rooms"            // rows of rooms, for those who write and for what they have counted
	Audiences   Cache = "audiences"        // members of rooms, by how to find out what an event is to them
	Sessions    Cache = "sessions"         // access tokens
	Wishes      Cache = "wishes"           // whom users ignore, and the like
	Unread      Cache = "unread"           // what users have not read in rooms
)

// parts are how many of 128 parts of the memory a cache may hold. What is left is for requests under way and the garbage they make.
var parts = map[Cache]int64{
	Pages: 16, Events: 16, Memberships: 8, States: 8, Lists: 8, Connections: 8, Members: 4, Words: 8, Audiences: 2, Rooms: 2, Heads: 2, Sessions: 2, Wishes: 2, Unread: 2,
}

// garbageParts are how many of them may be garbage of the Go heap before it is collected.
const garbageParts = 10

// Memory is the memory of one server. The zero value and nil have the DefaultLimit; nil counts for nobody.
type Memory struct {
	limit  int64
	shares []*Share
}

// New returns a Memory of so many bytes.
func New(limit int64) *Memory { return &Memory{limit: limit} }

// Share returns the part of a cache. Ask before the Memory is registered as metrics, and once for each cache.
func (m *Memory) Share(of Cache) *Share {
	limit := int64(DefaultLimit)
	if m != nil && m.limit > 0 {
		limit = m.limit
	}
	s := Fixed(of, limit*parts[of]/128)
	if m != nil {
		m.shares = append(m.shares, s)
	}
	return s
}

// Heap is what is left for the Go heap when SQLite's pages have their part, which the Go runtime does not know of.
func (m *Memory) Heap() int64 { return m.limit - m.limit*parts[Pages]/128 }

// Garbage is how much of the Go heap may be garbage before it is collected. A collection takes about a millisecond for each MiB that is in use,
// whatever it finds: with half as much garbage it comes twice as often.
func (m *Memory) Garbage() int64 { return m.limit * garbageParts / 128 }

// Share is what one cache may hold. It is safe for concurrent use.
type Share struct {
	cache         Cache
	limit         int64
	held          atomic.Int64
	found, vainly atomic.Int64
}

// Fixed is a Share of so many bytes that is no part of anything.
func Fixed(of Cache, limit int64) *Share { return &Share{cache: of, limit: limit} }

// Limit is how many bytes the cache may hold.
func (s *Share) Limit() int { return int(s.limit) }

// Hold notes how many bytes the cache holds now, and reports whether it may.
func (s *Share) Hold(bytes int) bool {
	s.held.Store(int64(bytes))
	return int64(bytes) <= s.limit
}

// Asked notes that the cache was asked for something, and whether it had it.
func (s *Share) Asked(found bool) {
	if found {
		s.found.Add(1)
	} else {
		s.vainly.Add(1)
	}
}

var (
	heldDesc  = prometheus.NewDesc("hearth_cache_bytes", "Bytes that a cache holds, by its own estimate.", []string{"cache"}, nil)
	limitDesc = prometheus.NewDesc("hearth_cache_limit_bytes", "Bytes that a cache may hold, a part of memory.limit.", []string{"cache"}, nil)
	askedDesc = prometheus.NewDesc("hearth_cache_lookups_total", "Questions to a cache, and whether it had the answer.", []string{"cache", "found"}, nil)
)

// Describe implements prometheus.Collector.
func (m *Memory) Describe(to chan<- *prometheus.Desc) {
	to <- heldDesc
	to <- limitDesc
	to <- askedDesc
}

// Collect implements prometheus.Collector.
func (m *Memory) Collect(to chan<- prometheus.Metric) {
	for _, s := range m.shares {
		name := string(s.cache)
		to <- prometheus.MustNewConstMetric(limitDesc, prometheus.GaugeValue, float64(s.limit), name)
		if s.cache == Pages {
			continue // SQLite does not say
		}
		to <- prometheus.MustNewConstMetric(heldDesc, prometheus.GaugeValue, float64(s.held.Load()), name)
		to <- prometheus.MustNewConstMetric(askedDesc, prometheus.CounterValue, float64(s.found.Load()), name, "yes")
		to <- prometheus.MustNewConstMetric(askedDesc, prometheus.CounterValue, float64(s.vainly.Load()), name, "no")
	}
}
