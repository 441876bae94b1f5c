package appservice

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/hearthd/hearth/internal/id"
)

// Registry is the application services of a server. It never changes; nil is that of a server without any.
type Registry struct {
	all    []*Registration
	tokens map[[sha256.Size]byte]*Registration // by the hash of as_token, so that comparing takes the same time for all
}

// Load reads the registration files of a server. The error names everything that is wrong with any of them.
func Load(server id.ServerName, paths []string) (*Registry, error) {
	var all []*Registration
	var problems []error
	for _, path := range paths {
		text, err := read(path)
		if err != nil {
			problems = append(problems, fmt.Errorf("read registration of an application service: %w", err))
			continue
		}
		r, err := Parse(server, text)
		if err != nil {
			problems = append(problems, fmt.Errorf("registration of an application service %s: %w", path, err))
			continue
		}
		all = append(all, r)
	}
	registry, err := NewRegistry(all...)
	if err = errors.Join(append(problems, err)...); err != nil {
		return nil, err
	}
	return registry, nil
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxRegistration+1))
}

// NewRegistry puts registrations together. No two may have the same id, as_token or sender.
//
// Spec: application-service-api#registration
func NewRegistry(all ...*Registration) (*Registry, error) {
	out := &Registry{all: all, tokens: map[[sha256.Size]byte]*Registration{}}
	var problems []error
	ids, senders := map[string]bool{}, map[id.UserID]bool{}
	for _, r := range all {
		hash := sha256.Sum256([]byte(r.asToken))
		if ids[r.ID] {
			problems = append(problems, fmt.Errorf("two application services have the id %q", r.ID))
		}
		if other := out.tokens[hash]; other != nil {
			problems = append(problems, fmt.Errorf("the application services %q and %q have the same as_token", other.ID, r.ID))
		}
		if senders[r.Sender] {
			problems = append(problems, fmt.Errorf("two application services have the sender %s", r.Sender))
		}
		ids[r.ID], senders[r.Sender], out.tokens[hash] = true, true, r
	}
	return out, errors.Join(problems...)
}

// All is the application services in the order of their registrations.
func (r *Registry) All() []*Registration {
	if r == nil {
		return nil
	}
	return slices.Clone(r.all)
}

// ByToken finds the application service that an as_token belongs to, or nil.
func (r *Registry) ByToken(token string) *Registration {
	if r == nil || len(r.all) == 0 {
		return nil
	}
	return r.tokens[sha256.Sum256([]byte(token))]
}

// UserTaken reports whether a user id belongs exclusively to an application service other than the one with the id by, which is empty for
// those who are none.
//
// Spec: application-service-api#server-admin-style-permissions
func (r *Registry) UserTaken(user id.UserID, by string) bool {
	return r.taken(by, func(other *Registration) bool { return other.OwnsUser(user) })
}

// WantsNews reports whether any of them is to be told of typing, receipts and presence.
func (r *Registry) WantsNews() bool {
	return slices.ContainsFunc(r.All(), func(a *Registration) bool { return a.URL != nil && a.ReceiveEphemeral })
}

// AliasTaken is UserTaken for an alias.
func (r *Registry) AliasTaken(alias id.RoomAlias, by string) bool {
	return r.taken(by, func(other *Registration) bool {
		return alias.Server() == other.Sender.Server() && claims(other.aliases, string(alias))
	})
}

func (r *Registry) taken(by string, claimed func(*Registration) bool) bool {
	return r != nil && slices.ContainsFunc(r.all, func(other *Registration) bool { return other.ID != by && claimed(other) })
}

// HasAlias reports whether an alias is in a namespace of the application service with the given id.
func (r *Registry) HasAlias(appservice string, alias id.RoomAlias) bool {
	return r != nil && slices.ContainsFunc(r.all, func(a *Registration) bool { return a.ID == appservice && a.HasAlias(alias) })
}
