package roomserver

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/hearthd/hearth/internal/canonjson"
	"github.com/hearthd/hearth/internal/fedtypes"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/pdu"
	"github.com/hearthd/hearth/storage"
)

// Some membership events have the signatures of two servers: invites, and joins that a member on another server vouches for.

// cosign is an event of another server with the signature of this one added.
//
// Spec: server-server-api#signing-events
func (s *Server) cosign(e *pdu.Event) ([]byte, error) {
	signature := base64.RawStdEncoding.EncodeToString(ed25519.Sign(s.cfg.Key, e.Signed))
	return withSignatures(e.Raw, s.cfg.Name, must(map[string]string{string(s.cfg.KeyID): signature}))
}

// withSignatures is an event with the signatures of a server, an object by key id, in canonical form.
func withSignatures(event []byte, server id.ServerName, signatures json.RawMessage) ([]byte, error) {
	out, err := sjson.SetRawBytes(bytes.Clone(event), "signatures."+escapePath(string(server)), signatures)
	if err != nil {
		return nil, fmt.Errorf("add a signature: %w", err)
	}
	return canonjson.Canonical(out)
}

// withRecommendation is a membership event that comes into a room through this server, with the signature of the room's policy server if that
// has one.
//
// Spec: server-server-api#policy-servers
func (s *Server) withRecommendation(ctx context.Context, room id.RoomID, e *pdu.Event) (*pdu.Event, error) {
	var p *policy
	var version gomatrixserverlib.IRoomVersion
	err := s.store.View(ctx, func(tx *storage.ReadTx) error {
		a, err := s.state(tx, room)
		if err == nil {
			version = a.version
			p, err = a.policy()
		}
		return err
	})
	if err != nil || p == nil || p.recommends(e) {
		return e, err
	}
	signed, err := s.ask(ctx, version, p, e.Raw)
	if err != nil {
		return nil, refusedByPolicy(err)
	}
	return signed, nil
}

var errCosigned = errors.New("the other server has not signed the event")

// cosigned is an event of ours with the signature of another server, which that has added to its copy. The error says that it has not, or to
// another event; the event is then returned as it was.
func (s *Server) cosigned(
	ctx context.Context, version gomatrixserverlib.IRoomVersion, ours []byte, theirs json.RawMessage, from id.ServerName,
) ([]byte, error) {
	if len(theirs) == 0 {
		return ours, errCosigned
	}
	mine, err := pdu.Parse(version, ours)
	if err != nil {
		return ours, fmt.Errorf("read an event of ours: %w", err)
	}
	copied, err := pdu.Parse(version, theirs)
	if err != nil {
		return ours, err
	}
	// The hash of the content is part of what is signed.
	if !bytes.Equal(copied.Signed, mine.Signed) {
		return ours, fmt.Errorf("%w but another one", errCosigned)
	}
	added := gjson.GetBytes(copied.Raw, "signatures."+escapePath(string(from)))
	if !added.IsObject() || len(added.Raw) > maxField*len(from) {
		return ours, errCosigned
	}
	both, err := withSignatures(ours, from, json.RawMessage(added.Raw))
	if err != nil {
		return ours, err
	}
	if len(both) > maxEvent {
		return ours, errCosigned
	}
	signed := fedtypes.Signed{Raw: both, Message: mine.Signed, Servers: []id.ServerName{from}, TS: int64(mine.OriginServerTS())}
	if err := s.peers.Verifier.VerifyEvents(ctx, version, []fedtypes.Signed{signed})[0]; err != nil {
		return ours, fmt.Errorf("%w: %w", errCosigned, err)
	}
	return both, nil
}
