package directory

import (
	"context"
	"encoding/json"
	"time"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
)

// Bounds of profiles of other servers: those of the specification for ours.
const (
	maxProfile       = 64 << 10 // bytes of JSON
	maxProfileFields = 500
	profileTimeout   = 20 * time.Second
)

// profileAnswer is what a server said about a user; nil: that there is no such user.
type profileAnswer map[string]json.RawMessage

func errNoProfile() error { return merr.New(merr.NotFound, "Profile not found") }

// Profile asks the server of a user for the profile. The error is M_NOT_FOUND for a user whom it does not know.
//
// Spec: server-server-api#get_matrixfederationv1queryprofile
func (s *Service) Profile(ctx context.Context, user id.UserID) (map[string]json.RawMessage, error) {
	if p, ok := s.profiles.get(user, shortMemory); ok {
		return p.result()
	}
	ctx, cancel := context.WithTimeout(ctx, profileTimeout)
	defer cancel()
	raw, err := s.remote.Profile(ctx, user.Server(), user, "")
	if err != nil {
		err = s.failure(user.Server(), err, errNoProfile())
		if merr.HasCode(err, merr.NotFound) {
			s.profiles.put(user, nil, 0)
		}
		return nil, err
	}
	p, err := parseProfile(raw)
	if err != nil {
		return nil, s.failure(user.Server(), err, errNoProfile())
	}
	s.profiles.put(user, p, len(raw))
	return p.result()
}

// ProfileField is one field of the profile of a user of another server; M_NOT_FOUND also where it is not set.
func (s *Service) ProfileField(ctx context.Context, user id.UserID, field string) (json.RawMessage, error) {
	p, err := s.Profile(ctx, user)
	if err != nil {
		return nil, err
	}
	value, ok := p[field]
	if !ok {
		return nil, errNoProfile()
	}
	return value, nil
}

func (p profileAnswer) result() (map[string]json.RawMessage, error) {
	if p == nil {
		return nil, errNoProfile()
	}
	return p, nil
}

var errBadProfile = merr.New(merr.Unknown, "The profile makes no sense").WithStatus(502)

// parseProfile reads a profile. Fields that do not have the type which clients rely on are left out.
func parseProfile(raw json.RawMessage) (profileAnswer, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil || len(raw) > maxProfile || len(fields) > maxProfileFields {
		return nil, errBadProfile
	}
	for name, value := range fields {
		var text string
		switch {
		case string(value) == "null":
			delete(fields, name)
		case name == "displayname" || name == "avatar_url" || name == "m.tz":
			if json.Unmarshal(value, &text) != nil {
				delete(fields, name)
			} else if _, err := id.ParseMXC(text); err != nil && name == "avatar_url" {
				delete(fields, name)
			}
		}
	}
	return fields, nil
}
