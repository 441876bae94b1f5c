package directory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/hearthd/hearth/internal/appservice"
	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/fedtypes"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// Remote is what is asked of other servers, as *fedclient.Client answers it. Answers are JSON of bounded size, otherwise unchecked. An error
// that is a refusal has a method MatrixError; after any other the server counts as one that cannot be reached.
type Remote interface {
	Profile(ctx context.Context, to id.ServerName, user id.UserID, field string) (json.RawMessage, error)
	Directory(ctx context.Context, to id.ServerName, alias id.RoomAlias) (fedtypes.DirectoryAnswer, error)
	PublicRooms(ctx context.Context, to id.ServerName, body json.RawMessage) (json.RawMessage, error)
	Hierarchy(ctx context.Context, to id.ServerName, room id.RoomID, suggestedOnly bool) (json.RawMessage, error)
}

// nobody is Remote where there is no federation.
type nobody struct{}

var errAlone = errors.New("this server does not federate")

func (nobody) Profile(context.Context, id.ServerName, id.UserID, string) (json.RawMessage, error) {
	return nil, errAlone
}

func (nobody) Directory(context.Context, id.ServerName, id.RoomAlias) (fedtypes.DirectoryAnswer, error) {
	return fedtypes.DirectoryAnswer{}, errAlone
}

func (nobody) PublicRooms(context.Context, id.ServerName, json.RawMessage) (json.RawMessage, error) {
	return nil, errAlone
}

func (nobody) Hierarchy(context.Context, id.ServerName, id.RoomID, bool) (json.RawMessage, error) {
	return nil, errAlone
}

// Parts is what a Service is made of. Remote and Log may be nil.
type Parts struct {
	Server  id.ServerName
	Store   *storage.Store
	Remote  Remote              // nil: this server is the only one
	Bridges *appservice.Service // nil: there are no application services
	Clock   clock.Clock
	Log     *slog.Logger
}

// Service looks here first and then at other servers. What those said is remembered for a short while; of what they say, nothing but the facts
// that are asked for gets through, and never the text of an error.
type Service struct {
	server   id.ServerName
	store    *storage.Store
	remote   Remote
	bridges  *appservice.Service
	log      *slog.Logger
	asking   chan struct{} // one for each server that is being asked about a space
	profiles *memory[id.UserID, profileAnswer]
	aliases  *memory[id.RoomAlias, fedtypes.DirectoryAnswer]
	trees    *memory[treeKey, tree]
}

// maxAsking is how many servers are asked about spaces at the same time, for all users together.
const maxAsking = 64

// New makes the service.
func New(p Parts) *Service {
	if p.Remote == nil {
		p.Remote = nobody{}
	}
	if p.Log == nil {
		p.Log = slog.New(slog.DiscardHandler)
	}
	const kib, mib = 1 << 10, 1 << 20
	return &Service{
		server: p.Server, store: p.Store, remote: p.Remote, bridges: p.Bridges, log: p.Log, asking: make(chan struct{}, maxAsking),
		profiles: newMemory[id.UserID, profileAnswer](p.Clock, 4*mib),
		aliases:  newMemory[id.RoomAlias, fedtypes.DirectoryAnswer](p.Clock, 512*kib),
		trees:    newMemory[treeKey, tree](p.Clock, 8*mib),
	}
}

// refused reports whether an error is the answer of another server, and with which status.
func refused(err error) (status int, ok bool) {
	var r interface {
		error
		MatrixError() (status int, code string)
	}
	if !errors.As(err, &r) {
		return 0, false
	}
	status, _ = r.MatrixError()
	return status, true
}

// failure is what clients get for an error of another server: that it has no such thing, that it does not tell, or that it gave no answer.
func (s *Service) failure(server id.ServerName, err error, notFound error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	switch status, _ := refused(err); {
	case status == http.StatusNotFound, errors.Is(err, errAlone):
		return notFound
	case status == http.StatusForbidden, status == http.StatusUnauthorized:
		return merr.Newf(merr.Forbidden, "%s does not tell this server", server)
	}
	s.log.Info("another server was asked in vain", slog.String("server", string(server)), slog.Any("error", err))
	return fmt.Errorf("%w: %w", merr.Newf(merr.Unknown, "%s did not give an answer", server).WithStatus(http.StatusBadGateway), err)
}

// shortMemory is how long answers are believed that somebody may just have changed.
const shortMemory = 30 * time.Second
