package hearthtest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/hearthd/hearth/internal/canonjson"
	"github.com/hearthd/hearth/internal/id"
)

// PDU is an event in the form servers exchange.
type PDU struct {
	gjson.Result
	ID id.EventID
	// Raw is what was signed, in canonical form.
	Raw json.RawMessage
}

// At returns what is below the keys, each taken as it is.
func (p *PDU) At(keys ...any) gjson.Result { return at(p.Result, keys...) }

// Type is the event type.
func (p *PDU) Type() string { return p.Get("type").Str }

// Sender is who sent it.
func (p *PDU) Sender() id.UserID { return id.UserID(p.Get("sender").Str) }

// Membership is the membership in its content.
func (p *PDU) Membership() string { return p.At("content", "membership").Str }

// Depth is the depth it claims.
func (p *PDU) Depth() int64 { return p.Get("depth").Int() }

// Prev and Auth are the events it refers to.
func (p *PDU) Prev() []id.EventID { return references(p.Get("prev_events")) }

// Auth are the events that are to authorise it.
func (p *PDU) Auth() []id.EventID { return references(p.Get("auth_events")) }

// references reads a list of event ids, or of pairs of an id and a hash as in room versions 1 and 2.
func references(list gjson.Result) []id.EventID {
	out := []id.EventID{}
	for _, v := range list.Array() {
		if v.IsArray() {
			v = v.Get("0")
		}
		out = append(out, id.EventID(v.Str))
	}
	return out
}

// stateKey is the event's place in the state, if it has one.
func (p *PDU) stateKey() (slot, bool) {
	key := p.Get("state_key")
	return slot{p.Type(), key.Str}, key.Exists()
}

// slot is a place in the state of a room.
type slot struct{ typ, key string }

// signer is a server that signs.
type signer struct {
	name  id.ServerName
	keyID string
	key   ed25519.PrivateKey
}

// finish hashes and signs an event. The event is changed; what it has for hashes and signatures goes.
//
// Spec: server-server-api#signing-events
func (s signer) finish(version gomatrixserverlib.IRoomVersion, event map[string]any) (*PDU, error) {
	delete(event, "signatures")
	delete(event, "hashes")
	raw, err := canonical(event)
	if err != nil {
		return nil, err
	}
	hash, err := contentHash(raw)
	if err != nil {
		return nil, err
	}
	event["hashes"] = map[string]any{"sha256": hash}
	return s.sign(version, event)
}

// sign adds the signature of the server to those there are.
func (s signer) sign(version gomatrixserverlib.IRoomVersion, event map[string]any) (*PDU, error) {
	raw, err := canonical(event)
	if err != nil {
		return nil, err
	}
	signed, err := signedPart(version, raw)
	if err != nil {
		return nil, err
	}
	if raw, err = s.attach(raw, ed25519.Sign(s.key, signed)); err != nil {
		return nil, err
	}
	return readPDU(version, raw)
}

// attach writes a signature into an object.
func (s signer) attach(raw, signature []byte) (json.RawMessage, error) {
	path := "signatures." + gjson.Escape(string(s.name)) + "." + gjson.Escape(s.keyID)
	out, err := sjson.SetBytes(raw, path, base64.RawStdEncoding.EncodeToString(signature))
	if err != nil {
		return nil, err
	}
	return canonjson.Canonical(out)
}

// signObject signs JSON that is no event.
//
// Spec: appendices#signing-json
func (s signer) signObject(object any) (json.RawMessage, error) {
	raw, err := canonical(object)
	if err != nil {
		return nil, err
	}
	plain, err := without(raw, "signatures", "unsigned")
	if err != nil {
		return nil, err
	}
	return s.attach(raw, ed25519.Sign(s.key, plain))
}

func canonical(v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return canonjson.Canonical(raw)
}

// object reads an object so that it can be changed and written again.
func object(raw []byte) (map[string]any, error) {
	var out map[string]any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	err := dec.Decode(&out)
	return out, err
}

// without returns the canonical form of an object without some of its members.
func without(raw []byte, members ...string) ([]byte, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil {
		return nil, err
	}
	maps.DeleteFunc(object, func(name string, _ json.RawMessage) bool {
		for _, m := range members {
			if m == name {
				return true
			}
		}
		return false
	})
	return canonical(object)
}

// contentHash is the hash over all of an event.
//
// Spec: server-server-api#calculating-the-content-hash-for-an-event
func contentHash(event []byte) (string, error) {
	raw, err := without(event, "unsigned", "signatures", "hashes")
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(raw)
	return base64.RawStdEncoding.EncodeToString(sum[:]), nil
}

// signedPart is what signatures and event ids are made from: the redacted event.
func signedPart(version gomatrixserverlib.IRoomVersion, raw []byte) ([]byte, error) {
	redacted, err := version.RedactEventJSON(raw)
	if err != nil {
		return nil, fmt.Errorf("redact an event: %w", err)
	}
	return without(redacted, "signatures", "unsigned", "age_ts")
}

// readPDU finds out the id of an event.
//
// Spec: server-server-api#calculating-the-reference-hash-for-an-event
func readPDU(version gomatrixserverlib.IRoomVersion, raw []byte) (*PDU, error) {
	p := &PDU{Result: gjson.ParseBytes(raw), Raw: raw}
	if version.EventFormat() == gomatrixserverlib.EventFormatV1 {
		p.ID = id.EventID(p.Get("event_id").Str)
		return p, nil
	}
	signed, err := signedPart(version, raw)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(signed)
	encoding := base64.RawURLEncoding
	if version.EventIDFormat() == gomatrixserverlib.EventIDFormatV2 {
		encoding = base64.RawStdEncoding
	}
	p.ID = id.EventID("$" + encoding.EncodeToString(sum[:]))
	return p, nil
}

// reference is how an event of the room version refers to another.
func reference(version gomatrixserverlib.IRoomVersion, event id.EventID) any {
	if version.EventFormat() == gomatrixserverlib.EventFormatV1 {
		return []any{event, map[string]any{"sha256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"}}
	}
	return event
}

// check verifies the hash of an event and the signature of its sender's server, as the receiver of it should.
func (p *PDU) check(version gomatrixserverlib.IRoomVersion, keys func(id.ServerName) (string, ed25519.PublicKey)) error {
	hash, err := contentHash(p.Raw)
	if err != nil {
		return err
	}
	if got := p.At("hashes", "sha256").Str; got != hash {
		return fmt.Errorf("event %s has the hash %q, want %q", p.ID, got, hash)
	}
	server := p.Sender().Server()
	keyID, key := keys(server)
	signature, err := base64.RawStdEncoding.DecodeString(p.At("signatures", server, keyID).Str)
	if err != nil {
		return err
	}
	signed, err := signedPart(version, p.Raw)
	if err != nil {
		return err
	}
	if key == nil || !ed25519.Verify(key, signed, signature) {
		return fmt.Errorf("event %s of %s is not signed by %s", p.ID, p.Sender(), server)
	}
	return nil
}
