package e2ee

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/hearthd/hearth/internal/canonjson"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
)

// signatures is the member of that name: by user and name of the signing key.
type signatures map[id.UserID]map[string]string

// signed is an object apart from its signatures.
//
// Spec: appendices#signing-json
type signed struct {
	canonical  json.RawMessage // without signatures and unsigned: the bytes that are signed
	signatures signatures
}

// parseSigned takes an object of a request apart. The errors are M_BAD_JSON and, for one that is too large, M_TOO_LARGE.
func parseSigned(raw json.RawMessage) (signed, error) {
	if len(raw) > maxObject {
		return signed{}, merr.Newf(merr.TooLarge, "A key must not be longer than %d bytes", maxObject)
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil || members == nil {
		return signed{}, merr.New(merr.BadJSON, "A key is not an object")
	}
	var s signed
	if text, ok := members["signatures"]; ok && json.Unmarshal(text, &s.signatures) != nil {
		return signed{}, merr.New(merr.BadJSON, "signatures is not a map of users to signatures by key")
	}
	delete(members, "signatures")
	delete(members, "unsigned")
	rest, err := json.Marshal(members)
	if err != nil {
		return signed{}, merr.New(merr.BadJSON, "A key is not an object")
	}
	s.canonical, err = canonical(rest)
	return s, err
}

// maxObject is the length of an object with keys, in bytes: that of an event.
const maxObject = 64 << 10

// canonical brings JSON into the one form that is signed and compared.
//
// Spec: appendices#canonical-json
func canonical(raw json.RawMessage) (json.RawMessage, error) {
	out, err := canonjson.Canonical(raw)
	if err != nil {
		return nil, merr.New(merr.BadJSON, "A key has no canonical form")
	}
	return out, nil
}

// of is a user's own signatures, as they are stored.
func (s signatures) of(user id.UserID) json.RawMessage {
	out, err := json.Marshal(signatures{user: s[user]})
	if err != nil || len(s[user]) == 0 { // maps of strings always marshal
		return json.RawMessage(`{}`)
	}
	return out
}

// stored reads what of has written.
func stored(text json.RawMessage) signatures {
	var s signatures
	if json.Unmarshal(text, &s) != nil || s == nil {
		s = signatures{}
	}
	return s
}

func (s signatures) add(user id.UserID, key, signature string) {
	if s[user] == nil {
		s[user] = map[string]string{}
	}
	s[user][key] = signature
}

// join makes an object of its canonical form, its signatures and what is not signed.
func join(canonical json.RawMessage, sigs signatures, unsigned json.RawMessage) json.RawMessage {
	var b bytes.Buffer
	b.Write(canonical[:len(canonical)-1])
	member := func(name string, value json.RawMessage) {
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		b.WriteString(`"` + name + `":`)
		b.Write(value)
	}
	if text, err := json.Marshal(sigs); err == nil {
		member("signatures", text)
	}
	if unsigned != nil {
		member("unsigned", unsigned)
	}
	b.WriteByte('}')
	return b.Bytes()
}

// verify reports whether a signature of the object was made with a key.
func (s signed) verify(key ed25519.PublicKey, signature string) bool {
	return verify(s.canonical, key, signature)
}

func verify(message []byte, key ed25519.PublicKey, signature string) bool {
	sig, err := decodeBase64(signature)
	return err == nil && len(key) == ed25519.PublicKeySize && ed25519.Verify(key, message, sig)
}

// publicKey decodes an ed25519 key; it is nil if that is none.
func publicKey(text string) ed25519.PublicKey {
	key, err := decodeBase64(text)
	if err != nil || len(key) != ed25519.PublicKeySize {
		return nil
	}
	return key
}

// decodeBase64 reads the unpadded form, and the padded one as well.
func decodeBase64(text string) ([]byte, error) {
	return base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
}

const edPrefix = "ed25519:"

// maxName is the length of algorithms and key ids, in bytes.
const maxName = 255

// goodName reports whether a name can be stored.
func goodName(name string) bool {
	return name != "" && len(name) <= maxName && strings.IndexByte(name, 0) < 0
}
