package account

import (
	"context"
	"net/http"
	"sync"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage"
)

const (
	// maxSightings is the number of devices whose last sighting is kept in memory.
	maxSightings = 50_000
	// maxAgent is the number of bytes kept of a User-Agent.
	maxAgent = 256
)

// sightings are the last times at which devices made a request. They are collected in memory and written once in a while: losing some in a
// crash costs nothing.
type sightings struct {
	mu      sync.Mutex
	devices map[sightedDevice]*sighting
}

type sightedDevice struct {
	user   id.UserID
	device id.DeviceID
}

type sighting struct {
	ts        int64
	ip, agent string
	written   bool
}

func newSightings() *sightings { return &sightings{devices: map[sightedDevice]*sighting{}} }

// sight notes that a device made a request. What was noted within the last minute stands.
func (s *Service) sight(session storage.Session, r *http.Request) {
	if r == nil {
		return
	}
	now := s.now()
	key := sightedDevice{session.UserID, session.DeviceID}
	s.seen.mu.Lock()
	defer s.seen.mu.Unlock()
	last := s.seen.devices[key]
	if last != nil && now-last.ts < housekeeping.Milliseconds() || last == nil && len(s.seen.devices) >= maxSightings {
		return
	}
	agent := r.UserAgent()
	if len(agent) > maxAgent {
		agent = agent[:maxAgent]
	}
	s.seen.devices[key] = &sighting{
		ts: now, agent: printable(agent), ip: web.ClientIP(r, s.config.Get().Server.TrustedProxies).String(),
	}
}

// printable replaces what is not printable ASCII: databases want text, and a User-Agent can be any bytes.
func printable(text string) string {
	out := []byte(text)
	for i, c := range out {
		if c < 0x20 || c > 0x7e {
			out[i] = '?'
		}
	}
	return string(out)
}

// overlay replaces what is stored of a device's last sighting by what is known.
func (s *sightings) overlay(d *storage.Device) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last := s.devices[sightedDevice{d.UserID, d.ID}]; last != nil && last.ts > d.LastSeenTS {
		d.LastSeenTS, d.LastSeenIP, d.LastSeenAgent = last.ts, last.ip, last.agent
	}
}

// flushSightings writes what is new and forgets what was written before.
func (s *Service) flushSightings(ctx context.Context) error {
	var fresh []storage.Device
	s.seen.mu.Lock()
	for key, last := range s.seen.devices {
		if last.written {
			delete(s.seen.devices, key)
			continue
		}
		last.written = true
		fresh = append(fresh, storage.Device{UserID: key.user, ID: key.device, LastSeenTS: last.ts, LastSeenIP: last.ip, LastSeenAgent: last.agent})
	}
	s.seen.mu.Unlock()
	if len(fresh) == 0 {
		return nil
	}
	return s.store.Update(ctx, func(tx *storage.Tx) error {
		for _, d := range fresh {
			if err := tx.TouchDevice(d); err != nil {
				return err
			}
		}
		return nil
	})
}
