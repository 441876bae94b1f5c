package roomserver

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/hearthd/hearth/internal/canonjson"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/pdu"
	"github.com/hearthd/hearth/storage"
)

// A policy server says which events it recommends for a room, by its signature. Ours are not sent without it, and those of others that lack it
// are kept from clients.
//
// Spec: server-server-api#policy-servers

const (
	policyType  = "m.room.policy"
	policyKeyID = "ed25519:policy_server"
	// maxAsked bounds the events of one request for which a policy server is asked one after the other.
	maxAsked = 100
)

// policy is the policy server of a room.
type policy struct {
	via id.ServerName
	key ed25519.PublicKey
}

// policy is the policy server that a room has now; nil for most.
//
// Spec: server-server-api#determining-if-a-policy-server-is-enabled-in-a-room
func (a *authState) policy() (*policy, error) {
	e, err := a.get(storage.StateKey{Type: policyType})
	if err != nil || e == nil {
		return nil, err
	}
	content := gjson.ParseBytes(e.pdu.Content())
	via, err := id.ParseServerName(text(content.Get("via")))
	if err != nil {
		return nil, nil //nolint:nilnil // the state says nothing of use
	}
	key, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text(content.Get("public_keys.ed25519")), "="))
	if err != nil || len(key) != ed25519.PublicKeySize {
		return nil, nil //nolint:nilnil // as above
	}
	servers, err := a.servers()
	if err != nil {
		return nil, err
	}
	joined, err := a.joined()
	if err != nil {
		return nil, err
	}
	if !slices.Contains(servers, via) && !slices.ContainsFunc(joined, func(m storage.Member) bool { return m.User.Server() == via }) {
		return nil, nil //nolint:nilnil // a server that is not in the room has not agreed to this
	}
	return &policy{via, key}, nil
}

// exempt reports whether an event needs no recommendation: what sets the policy server must not depend on it.
func exempt(typ string, stateKey *string) bool {
	return stateKey != nil && *stateKey == "" && typ == policyType || typ == spec.MRoomCreate
}

// recommends reports whether an event has the signature of the policy server.
func (p *policy) recommends(e *pdu.Event) bool {
	sig := gjson.GetBytes(e.Raw, "signatures."+escapePath(string(p.via))+"."+escapePath(policyKeyID))
	raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(sig.Str, "="))
	return err == nil && ed25519.Verify(p.key, e.Signed, raw)
}

// with is a canonical event with the signature of the policy server.
func (p *policy) with(raw []byte, signature string) ([]byte, error) {
	out, err := sjson.SetBytes(raw, "signatures."+escapePath(string(p.via))+"."+escapePath(policyKeyID), signature)
	if err != nil {
		return nil, fmt.Errorf("add the signature of a policy server: %w", err)
	}
	return canonjson.Canonical(out)
}

// ask asks the policy server for its signature under an event, and returns the event with it.
func (s *Server) ask(ctx context.Context, version gomatrixserverlib.IRoomVersion, p *policy, raw []byte) (*pdu.Event, error) {
	signature, err := s.peers.Remote.PolicySign(ctx, p.via, raw)
	if err != nil {
		return nil, err
	}
	signed, err := p.with(raw, signature)
	if err != nil {
		return nil, err
	}
	e, err := pdu.Parse(version, signed)
	if err != nil {
		return nil, err
	}
	if !p.recommends(e) {
		return nil, errors.New("the policy server has signed with another key than the room names")
	}
	return e, nil
}

// unsigned says that an event of ours needs the signature of a policy server before it can be added.
type unsigned struct {
	policy  *policy
	version gomatrixserverlib.IRoomVersion
	draft   draft
	place   place
	raw     []byte
}

func (u *unsigned) Error() string { return "the event needs the signature of " + string(u.policy.via) }

// recommended is an event of ours that a policy server has signed.
type recommended struct {
	draft draft
	place place
	event *pdu.Event
}

// is reports whether this is the event of the draft. Time and transaction may differ: it is the same request, looked at again.
func (r recommended) is(d draft) bool {
	sameKey := (r.draft.stateKey == nil) == (d.stateKey == nil) && (d.stateKey == nil || *r.draft.stateKey == *d.stateKey)
	return sameKey && r.draft.typ == d.typ && r.draft.sender == d.sender && r.draft.redacts == d.redacts && bytes.Equal(r.draft.content, d.content)
}

// recommending runs what adds events to a room, and again with their signatures as often as the room's policy server has to be asked, which is
// done between the Updates.
func (s *Server) recommending(ctx context.Context, fn func(signed []recommended) error) error {
	var signed []recommended
	for {
		err := fn(signed)
		var u *unsigned
		if !errors.As(err, &u) {
			return err
		}
		if len(signed) >= maxAsked {
			return merr.New(merr.LimitExceeded, "The policy server of the room would have to be asked too often for this")
		}
		e, err := s.ask(ctx, u.version, u.policy, u.raw)
		if err != nil && u.draft.leaves() && unanswered(err) {
			// Nobody is kept in a room because its policy server is away. Others ask it for themselves.
			e, err = pdu.Parse(u.version, u.raw)
		}
		if err != nil {
			return refusedByPolicy(err)
		}
		signed = append(signed, recommended{u.draft, u.place, e})
	}
}

// leaves reports whether a user leaves the room with the event.
func (d draft) leaves() bool {
	return d.typ == spec.MRoomMember && d.stateKey != nil && *d.stateKey == string(d.sender) && memberOf(d.content, "membership") == spec.Leave
}

// unanswered reports whether an error of asking a policy server says nothing of what it thinks of the event.
func unanswered(err error) bool {
	var said RemoteError
	if !errors.As(err, &said) {
		return true
	}
	status, _ := said.MatrixError()
	return status >= http.StatusInternalServerError || status == http.StatusTooManyRequests
}

// refusedByPolicy is what a client is told: what the policy server says, for it speaks for the room.
func refusedByPolicy(err error) error {
	var said RemoteError
	if !errors.As(err, &said) {
		return merr.New(merr.Unknown, "The policy server of the room cannot be reached").WithStatus(http.StatusBadGateway)
	}
	status, code := said.MatrixError()
	message := "The policy server of the room does not want this event"
	if m, ok := said.(interface{ MatrixMessage() string }); ok && m.MatrixMessage() != "" {
		message = m.MatrixMessage()
	}
	// Clients log out, or show another page, where they are told something of their session or account: that is not for it to say.
	switch merr.Code(code) {
	case merr.UnknownToken, merr.MissingToken, merr.UserLocked, merr.UserSuspended, merr.UserDeactivated, "":
		status, code = http.StatusForbidden, string(merr.Forbidden)
	}
	if status == http.StatusUnauthorized {
		status = http.StatusForbidden
	}
	return merr.New(merr.Code(code), message).WithStatus(status)
}

// recommendations asks for the recommendation of events of other servers that come without it, and notes which stay without.
func (in *intake) recommendations(ctx context.Context, events []incoming) {
	p := in.policy
	if p == nil {
		return
	}
	var workers sync.WaitGroup
	turns := make(chan struct{}, together)
	for i := range events {
		e := &events[i]
		if exempt(e.Type(), e.StateKey()) || p.recommends(e.Event) {
			continue
		}
		turns <- struct{}{}
		workers.Go(func() {
			defer func() { <-turns }()
			signed, err := in.s.ask(ctx, in.version, p, e.Raw)
			if err != nil {
				in.s.log.Debug("event not recommended", slog.String("event", string(e.ID)), slog.Any("error", err))
				e.unwanted = true
				return
			}
			e.Event = signed
		})
	}
	workers.Wait()
}
