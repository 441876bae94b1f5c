package roomserver

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/hearthd/hearth/internal/canonjson"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/pdu"
	"github.com/hearthd/hearth/storage"
)

// maxEvent is the limit of an event in its federation form, and maxField that of its type, state key, sender and room id, in bytes.
//
// Spec: client-server-api#size-limits
const (
	maxEvent = pdu.MaxSize
	maxField = 255
)

// draft is an event before it is made: what its sender decides.
type draft struct {
	typ      string
	stateKey *string
	sender   id.UserID
	content  json.RawMessage
	redacts  id.EventID // of an m.room.redaction
	ts       int64      // 0 for now
	// handed tells that another server takes part in making the event.
	handed bool

	canonical bool        // content is what canonicalContent has given
	txn       storage.Txn // zero for events that no client's transaction id belongs to
	aliases   []id.RoomAlias
}

func (d draft) key() (storage.StateKey, bool) {
	if d.stateKey == nil {
		return storage.StateKey{}, false
	}
	return storage.StateKey{Type: d.typ, Key: *d.stateKey}, true
}

// canonicalContent checks what a client wants as content and brings it into canonical form.
func canonicalContent(content json.RawMessage, version gomatrixserverlib.IRoomVersion) ([]byte, error) {
	canonical := canonjson.Canonical
	if version.CheckCanonicalJSON([]byte(`[9007199254740992]`)) != nil {
		canonical = canonjson.Strict
	}
	out, err := canonical(content)
	switch {
	case errors.Is(err, canonjson.ErrNumber):
		return nil, merr.New(merr.BadJSON, "Numbers in events must be integers between -2^53+1 and 2^53-1")
	case err != nil || out[0] != '{':
		return nil, merr.New(merr.BadJSON, "The content of an event must be an object")
	}
	return out, nil
}

// place is where in a room's graph a draft goes.
type place struct {
	version gomatrixserverlib.IRoomVersion
	room    id.RoomID // empty for the create event of a room whose id is made from it
	prev    []id.EventID
	auth    []id.EventID
	depth   int64
	ts      int64
}

// build makes a signed event of a draft. For the event format of room versions 3 and later it writes the canonical form directly instead of
// going through gomatrixserverlib's builder, which decodes and encodes the event nine times (docs/adr/0005); a test holds both to the same
// result.
func (s *Server) build(d draft, p place) (id.EventID, []byte, error) {
	content := []byte(d.content)
	if !d.canonical {
		var err error
		if content, err = canonicalContent(d.content, p.version); err != nil {
			return "", nil, err
		}
	}
	if strings.Contains(d.typ, "\x00") || d.stateKey != nil && strings.Contains(*d.stateKey, "\x00") {
		return "", nil, merr.New(merr.BadJSON, "The event's type or state key contains NUL")
	}
	if len(d.typ) > maxField || d.stateKey != nil && len(*d.stateKey) > maxField || len(d.sender) > maxField || len(p.room) > maxField {
		return "", nil, merr.New(merr.TooLarge, "The event's type or state key is longer than 255 bytes")
	}
	var (
		event id.EventID
		raw   []byte
		err   error
	)
	if p.version.EventFormat() == gomatrixserverlib.EventFormatV1 {
		event, raw, err = s.buildV1(d, p, content)
	} else {
		event, raw, err = s.buildV2(d, p, content)
	}
	if err != nil {
		return "", nil, err
	}
	// Spec: client-server-api#size-limits
	if len(raw) > maxEvent {
		return "", nil, merr.Newf(merr.TooLarge, "The event is larger than %d bytes", maxEvent)
	}
	return event, raw, nil
}

// buildV1 is build for room versions 1 and 2, where event ids are made up by the server.
func (s *Server) buildV1(d draft, p place, content []byte) (id.EventID, []byte, error) {
	b := p.version.NewEventBuilderFromProtoEvent(&gomatrixserverlib.ProtoEvent{
		SenderID: string(d.sender), RoomID: string(p.room), Type: d.typ, StateKey: d.stateKey, Redacts: string(d.redacts),
		Depth: p.depth, Content: content, PrevEvents: toStrings(p.prev), AuthEvents: toStrings(p.auth),
	})
	pdu, err := b.Build(time.UnixMilli(p.ts), spec.ServerName(s.cfg.Name), s.cfg.KeyID, s.cfg.Key)
	if err != nil {
		return "", nil, fmt.Errorf("build an event: %w", err)
	}
	return id.EventID(pdu.EventID()), pdu.JSON(), nil
}

func toStrings[T ~string](in []T) []string {
	out := make([]string, len(in))
	for i, v := range in {
		out[i] = string(v)
	}
	return out
}

// buildV2 writes the members of the event in the order of canonical JSON, so that nothing has to be sorted.
//
// Spec: server-server-api#calculating-the-content-hash-for-an-event, server-server-api#signing-events
func (s *Server) buildV2(d draft, p place, content []byte) (id.EventID, []byte, error) {
	e := eventWriter{d: d, p: p}
	hash := sha256.Sum256(e.write(make([]byte, 0, 512+len(content)), content, "", "", true))
	hashes := base64.RawStdEncoding.EncodeToString(hash[:])

	kept, err := redactedContent(d, p.version, content)
	if err != nil {
		return "", nil, err
	}
	signed := e.write(make([]byte, 0, 512+len(kept)), kept, hashes, "", false)
	sum := sha256.Sum256(signed)
	encoding := base64.RawURLEncoding
	if p.version.EventIDFormat() == gomatrixserverlib.EventIDFormatV2 {
		encoding = base64.RawStdEncoding
	}
	event := id.EventID("$" + encoding.EncodeToString(sum[:]))
	signature := base64.RawStdEncoding.EncodeToString(ed25519.Sign(s.cfg.Key, signed))
	signatures := `{"` + string(s.cfg.Name) + `":{"` + string(s.cfg.KeyID) + `":"` + signature + `"}}`
	return event, e.write(make([]byte, 0, 768+len(content)), content, hashes, signatures, true), nil
}

type eventWriter struct {
	d draft
	p place
}

// write appends the event with what is not empty of hashes and signatures; full says that the members which a redaction removes are wanted.
func (e eventWriter) write(b, content []byte, hashes, signatures string, full bool) []byte {
	b = append(b, `{"auth_events":`...)
	b = appendIDs(b, e.p.auth)
	b = append(b, `,"content":`...)
	b = append(b, content...)
	b = append(b, `,"depth":`...)
	b = strconv.AppendInt(b, e.p.depth, 10)
	if hashes != "" {
		b = append(b, `,"hashes":{"sha256":"`...)
		b = append(b, hashes...)
		b = append(b, `"}`...)
	}
	// Spec: server-server-api#joining-rooms. An older form of events had it everywhere; a redaction removes it since room version 11.
	if e.d.handed && (full || !redactsInContent(e.p.version)) {
		b = append(b, `,"origin":`...)
		b = canonjson.AppendString(b, string(e.d.sender.Server()))
	}
	b = append(b, `,"origin_server_ts":`...)
	b = strconv.AppendInt(b, e.p.ts, 10)
	b = append(b, `,"prev_events":`...)
	b = appendIDs(b, e.p.prev)
	if e.d.redacts != "" && full && !redactsInContent(e.p.version) {
		b = append(b, `,"redacts":`...)
		b = canonjson.AppendString(b, string(e.d.redacts))
	}
	if e.p.room != "" {
		b = append(b, `,"room_id":`...)
		b = canonjson.AppendString(b, string(e.p.room))
	}
	b = append(b, `,"sender":`...)
	b = canonjson.AppendString(b, string(e.d.sender))
	if signatures != "" {
		b = append(b, `,"signatures":`...)
		b = append(b, signatures...)
	}
	if e.d.stateKey != nil {
		b = append(b, `,"state_key":`...)
		b = canonjson.AppendString(b, *e.d.stateKey)
	}
	b = append(b, `,"type":`...)
	b = canonjson.AppendString(b, e.d.typ)
	return append(b, '}')
}

func appendIDs(b []byte, ids []id.EventID) []byte {
	b = append(b, '[')
	for i, v := range ids {
		if i > 0 {
			b = append(b, ',')
		}
		b = canonjson.AppendString(b, string(v))
	}
	return append(b, ']')
}

// redactedContent is the canonical form of what a redaction would leave of content.
func redactedContent(d draft, version gomatrixserverlib.IRoomVersion, content []byte) ([]byte, error) {
	if !pdu.KeepsContent(d.typ) {
		return []byte("{}"), nil
	}
	event := make([]byte, 0, len(content)+64)
	event = append(event, `{"type":`...)
	event = canonjson.AppendString(event, d.typ)
	event = append(event, `,"content":`...)
	event = append(event, content...)
	event = append(event, '}')
	redacted, err := pdu.Redact(version, event)
	if err != nil {
		return nil, fmt.Errorf("redact an event: %w", err)
	}
	var kept struct {
		Content json.RawMessage `json:"content"`
	}
	if err := json.Unmarshal(redacted, &kept); err != nil {
		return nil, fmt.Errorf("read a redacted event: %w", err)
	}
	return canonicalContent(kept.Content, version)
}
