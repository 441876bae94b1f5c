package fedclient

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/hearthd/hearth/internal/canonjson"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

const (
	maxKeyDocument = 64 * kib
	maxVerifyKeys  = 32
	maxOldKeys     = 64
	// maxValidity is for how long a key is believed without asking again, whatever its server says.
	//
	// Spec: server-server-api#get_matrixkeyv2server
	maxValidity = 7 * 24 * time.Hour
)

var errKeyDocument = errors.New("the key document is not good")

// object is a JSON object with signatures, taken apart.
//
// Spec: appendices#signing-json
type object struct {
	members    map[string]json.RawMessage // without signatures and unsigned
	signatures map[string]map[string]string
	message    []byte // the bytes that are signed
}

// parseObject takes a signed object apart.
func parseObject(raw []byte) (object, error) {
	var o object
	if err := json.Unmarshal(raw, &o.members); err != nil || o.members == nil {
		return object{}, errNotJSON
	}
	if text, ok := o.members["signatures"]; ok && json.Unmarshal(text, &o.signatures) != nil {
		return object{}, errSignatures
	}
	delete(o.members, "signatures")
	delete(o.members, "unsigned")
	rest, err := json.Marshal(o.members)
	if err != nil {
		return object{}, errNotJSON
	}
	o.message, err = canonjson.Canonical(rest)
	return o, err
}

var errSignatures = errors.New("the signatures are malformed")

// keyDocument is what a server says of its keys.
type keyDocument struct {
	raw  json.RawMessage
	keys []storage.ServerKey // those that are in use, then those that were
}

// parseKeyDocument reads the answer of a server for its keys, fetched at a moment. At least one of the keys must have signed it.
//
// Spec: server-server-api#publishing-keys
func parseKeyDocument(server id.ServerName, raw json.RawMessage, fetched time.Time) (keyDocument, error) {
	bad := func(why string) (keyDocument, error) {
		return keyDocument{}, fmt.Errorf("%w: %s", errKeyDocument, why)
	}
	if len(raw) > maxKeyDocument {
		return bad("it is too large")
	}
	o, err := parseObject(raw)
	if err != nil {
		return bad(err.Error())
	}
	var name string
	var until int64
	var current map[string]struct {
		Key string `json:"key"`
	}
	var old map[string]struct {
		Key     string `json:"key"`
		Expired int64  `json:"expired_ts"`
	}
	switch {
	case json.Unmarshal(o.members["server_name"], &name) != nil || name != string(server):
		return bad("it is of " + strconv.Quote(shorten(name, 255)))
	case json.Unmarshal(o.members["valid_until_ts"], &until) != nil || until <= 0:
		return bad("it has no valid_until_ts")
	case json.Unmarshal(o.members["verify_keys"], &current) != nil || len(current) == 0:
		return bad("it has no verify_keys")
	case o.members["old_verify_keys"] != nil && json.Unmarshal(o.members["old_verify_keys"], &old) != nil:
		return bad("its old_verify_keys are malformed")
	case len(current) > maxVerifyKeys || len(old) > maxOldKeys:
		return bad("it has too many keys")
	}
	d := keyDocument{raw: raw}
	until = min(until, fetched.Add(maxValidity).UnixMilli())
	signed := false
	for _, keyID := range slices.Sorted(maps.Keys(current)) {
		public, ok := publicKey(current[keyID].Key)
		if !ok || !validKeyID(keyID) {
			continue // other algorithms may come
		}
		signed = signed || verify(public, o.message, o.signatures[string(server)][keyID])
		d.keys = append(d.keys, storage.ServerKey{
			Server: server, KeyID: keyID, Public: encodeBase64(public), ValidUntil: until, Fetched: fetched.UnixMilli(),
		})
	}
	if !signed {
		return bad("none of its keys has signed it")
	}
	for _, keyID := range slices.Sorted(maps.Keys(old)) {
		public, ok := publicKey(old[keyID].Key)
		if _, again := current[keyID]; !ok || again || !validKeyID(keyID) || old[keyID].Expired <= 0 {
			continue
		}
		d.keys = append(d.keys, storage.ServerKey{
			Server: server, KeyID: keyID, Public: encodeBase64(public), Expired: old[keyID].Expired, Fetched: fetched.UnixMilli(),
		})
	}
	return d, nil
}

func encodeBase64(b []byte) string { return base64.RawStdEncoding.EncodeToString(b) }

func publicKey(text string) (ed25519.PublicKey, bool) {
	key, err := decodeBase64(text)
	return key, err == nil && len(key) == ed25519.PublicKeySize
}

// verify reports whether a signature, in base64, of a message was made with a key.
func verify(key ed25519.PublicKey, message []byte, signature string) bool {
	sig, err := decodeBase64(signature)
	return err == nil && len(sig) == ed25519.SignatureSize && ed25519.Verify(key, message, sig)
}
