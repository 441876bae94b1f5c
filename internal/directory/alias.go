package directory

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/hearthd/hearth/internal/fedtypes"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

const (
	// maxServers is how many servers of a room clients are told.
	maxServers   = 50
	aliasTimeout = 20 * time.Second
)

// Resolve finds the room of an alias, and servers that are in it: this one first if it is, then those that the server of the alias named.
// Where there is no such alias the error is M_NOT_FOUND.
//
// Spec: client-server-api#get_matrixclientv3directoryroomroomalias
func (s *Service) Resolve(ctx context.Context, alias id.RoomAlias) (fedtypes.DirectoryAnswer, error) {
	var out fedtypes.DirectoryAnswer
	var err error
	if alias.Server() == s.server {
		out.Room, err = s.localAlias(ctx, alias)
		// Spec: application-service-api#querying
		if merr.HasCode(err, merr.NotFound) && s.bridges.MakeAlias(ctx, alias) {
			out.Room, err = s.localAlias(ctx, alias)
		}
	} else {
		out, err = s.remoteAlias(ctx, alias)
	}
	if err != nil {
		return out, err
	}
	here, err := s.serversOf(ctx, out.Room)
	if alias.Server() == s.server && len(here) == 0 {
		here = []id.ServerName{s.server} // nobody is left in the room, but it is the only server that may know it
	}
	out.Servers = distinct(append(here, out.Servers...), maxServers)
	return out, err
}

func errNoAlias(alias id.RoomAlias) error {
	return merr.Newf(merr.NotFound, "There is no alias %s", alias)
}

func (s *Service) localAlias(ctx context.Context, alias id.RoomAlias) (room id.RoomID, err error) {
	err = s.store.View(ctx, func(tx *storage.ReadTx) error {
		row, err := tx.Alias(alias)
		if err != nil {
			return err
		}
		room, err = tx.RoomID(row.Room)
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		err = errNoAlias(alias)
	}
	return room, err
}

// Spec: server-server-api#get_matrixfederationv1querydirectory
func (s *Service) remoteAlias(ctx context.Context, alias id.RoomAlias) (fedtypes.DirectoryAnswer, error) {
	if out, ok := s.aliases.get(alias, shortMemory); ok {
		return out, nil
	}
	ctx, cancel := context.WithTimeout(ctx, aliasTimeout)
	defer cancel()
	out, err := s.remote.Directory(ctx, alias.Server(), alias)
	if err != nil {
		return out, s.failure(alias.Server(), err, errNoAlias(alias))
	}
	// Whoever resolves an alias is likely to be in its room.
	out.Servers = distinct(append(slices.Clone(out.Servers), alias.Server()), maxServers)
	const perServer = 40
	s.aliases.put(alias, out, perServer*len(out.Servers))
	return out, nil
}

// serversOf is the servers that are in a room, as far as is known here: this one first if it is in it. Where it is not, they are those that
// were there when its last user left.
func (s *Service) serversOf(ctx context.Context, room id.RoomID) (out []id.ServerName, err error) {
	err = s.store.View(ctx, func(tx *storage.ReadTx) error {
		nid, err := tx.RoomNID(room)
		if err != nil {
			return err
		}
		joined, err := tx.AnyLocalJoined(nid)
		if err != nil {
			return err
		}
		if joined {
			out = append(out, s.server)
		}
		others, err := tx.ServersInRoom(nid)
		out = append(out, others...)
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		err = nil
	}
	return out, err
}

// distinct is the first few different ones of some servers.
func distinct(servers []id.ServerName, most int) []id.ServerName {
	out := make([]id.ServerName, 0, min(len(servers), most))
	for _, server := range servers {
		if len(out) < most && !slices.Contains(out, server) {
			out = append(out, server)
		}
	}
	return out
}
