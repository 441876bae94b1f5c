package roomserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/hearthd/hearth/internal/fedtypes"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/pdu"
	"github.com/hearthd/hearth/storage"
)

// Knock asks to be invited. Knocking again with the same words while a knock is open changes nothing in a room that this server is in. Errors
// are those of Join.
//
// Spec: client-server-api#knocking-on-rooms, server-server-api#knocking-rooms
func (s *Server) Knock(ctx context.Context, r MemberRequest) error {
	r.Target = r.Sender
	err := s.update(ctx, r.Room, func(h *head) error {
		if err := h.mustBeResident(); err != nil {
			return err
		}
		return h.setMembership(r, spec.Knock)
	})
	err = knownElsewhere(err)
	var away *elsewhere
	if !errors.As(err, &away) {
		return err
	}
	leave, err := s.doors.enter(ctx, r.Room)
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), handshakeTime)
	defer cancel()
	p, err := s.plan(ctx, r, spec.Knock)
	if err != nil {
		return err
	}
	return s.tryEach(ctx, "knock", p, away.why, func(ctx context.Context, to id.ServerName) error { return s.knockThrough(ctx, to, r, p.content) })
}

// knockThrough knocks with the help of a server that is in the room.
func (s *Server) knockThrough(ctx context.Context, to id.ServerName, r MemberRequest, content json.RawMessage) error {
	t, err := func() (fedtypes.Template, error) {
		ctx, cancel := context.WithTimeout(ctx, makeTime)
		defer cancel()
		return s.peers.Remote.MakeKnock(ctx, to, r.Room, r.Sender, s.offered())
	}()
	if err != nil {
		return fmt.Errorf("make_knock: %w", err)
	}
	p, err := s.readTemplate(t, "", to, r, spec.Knock)
	if err != nil {
		return err
	}
	event, raw, err := s.complete(p, r, content)
	if err != nil {
		return err
	}
	state, err := s.peers.Remote.SendKnock(ctx, to, r.Room, event, raw)
	if err != nil {
		return fmt.Errorf("send_knock: %w", err)
	}
	e, err := pdu.Parse(p.version, raw)
	if err != nil {
		return fmt.Errorf("read a knock of ours: %w", err)
	}
	// What the other server says of the room is for people to look at: what is not well-formed is left out.
	shown, err := s.previews(ctx, p.version, e, state, false)
	if err != nil {
		return err
	}
	return s.store.Update(ctx, func(tx *storage.Tx) error { return s.keepOutside(tx, p.version, e, shown) })
}
