package fedclient

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/storage"
)

func TestKeyDocuments(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_000)
	key, other := testKey("b"), testKey("other")
	public := encodeBase64(key.Public().(ed25519.PublicKey))
	old := encodeBase64(other.Public().(ed25519.PublicKey))
	row := storage.ServerKey{Server: peerName, KeyID: "ed25519:1", Public: public, ValidUntil: now.Add(time.Hour).UnixMilli(), Fetched: now.UnixMilli()}
	capped := row
	capped.ValidUntil = now.Add(7 * 24 * time.Hour).UnixMilli()
	retired := storage.ServerKey{Server: peerName, KeyID: "ed25519:0", Public: old, Expired: 77, Fetched: now.UnixMilli()}
	make := func(until time.Duration, change ...func(map[string]any)) json.RawMessage {
		return keyDocumentOf(peerName, "ed25519:1", key, now.Add(until), change...)
	}
	set := func(name string, value any) func(map[string]any) {
		return func(d map[string]any) {
			if value == nil {
				delete(d, name)
				return
			}
			d[name] = value
		}
	}
	keys := func(n int) map[string]any {
		out := map[string]any{"ed25519:1": map[string]any{"key": public}}
		for i := range n {
			out[fmt.Sprintf("ed25519:x%d", i)] = map[string]any{"key": public, "expired_ts": 1}
		}
		return out
	}
	for _, tt := range []struct {
		name string
		raw  json.RawMessage
		want []storage.ServerKey
	}{
		{"a key", make(time.Hour), []storage.ServerKey{row}},
		{"a key for ever", make(1e6 * time.Hour), []storage.ServerKey{capped}},
		{"an old key", make(time.Hour, set("old_verify_keys", map[string]any{"ed25519:0": map[string]any{"key": old, "expired_ts": 77}})),
			[]storage.ServerKey{row, retired}},
		{"no old keys at all", make(time.Hour, set("old_verify_keys", nil)), []storage.ServerKey{row}},
		{"an old key that is also in use", make(time.Hour, set("old_verify_keys", map[string]any{"ed25519:1": map[string]any{"key": old, "expired_ts": 77}})),
			[]storage.ServerKey{row}},
		{"an old key without end", make(time.Hour, set("old_verify_keys", map[string]any{"ed25519:0": map[string]any{"key": old}})), []storage.ServerKey{row}},
		{"keys that cannot be used, too", make(time.Hour, set("verify_keys", map[string]any{
			"ed25519:1": map[string]any{"key": public}, "ed25519:2": map[string]any{"key": "x"}, "rsa:1": map[string]any{"key": public},
			"ed25519:a-b": map[string]any{"key": public}})), []storage.ServerKey{row}},
		{"more than is known", make(time.Hour, set("x", map[string]any{"<\"&>": 1.5})), []storage.ServerKey{row}},

		{"another server", keyDocumentOf("c.example", "ed25519:1", key, now), nil},
		{"no keys", make(time.Hour, set("verify_keys", map[string]any{})), nil},
		{"keys of another type", make(time.Hour, set("verify_keys", []any{})), nil},
		{"old keys of another type", make(time.Hour, set("old_verify_keys", 7)), nil},
		{"no time", make(time.Hour, set("valid_until_ts", nil)), nil},
		{"a time as a text", make(time.Hour, set("valid_until_ts", "1")), nil},
		{"a negative time", make(time.Hour, set("valid_until_ts", -1)), nil},
		{"too many keys", make(time.Hour, set("verify_keys", keys(40))), nil},
		{"too many old keys", make(time.Hour, set("old_verify_keys", keys(70))), nil},
		{"something large", make(time.Hour, set("x", strings.Repeat("x", 70<<10))), nil},
		{"a signature of another key", keyDocumentOf(peerName, "ed25519:1", other, now, set("verify_keys", map[string]any{"ed25519:1": map[string]any{"key": public}})), nil},
		{"a signature under another name", signAs("c.example", "ed25519:1", key, map[string]any{
			"server_name": peerName, "valid_until_ts": 1, "verify_keys": map[string]any{"ed25519:1": map[string]any{"key": public}}}), nil},
		{"signatures of another type", json.RawMessage(strings.Replace(string(make(time.Hour)), `"signatures":{`, `"signatures":7,"x":{`, 1)), nil},
		{"no object", json.RawMessage(`[]`), nil},
		{"no JSON", json.RawMessage(`{`), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseKeyDocument(peerName, tt.raw, now)
			if diff := cmp.Diff(tt.want, got.keys); diff != "" || (err == nil) != (tt.want != nil) || err != nil && !errors.Is(err, errKeyDocument) {
				t.Errorf("%v %s", err, diff)
			}
		})
	}
}

func FuzzKeyDocument(f *testing.F) {
	now := time.UnixMilli(1_800_000_000_000)
	f.Add([]byte(keyDocumentOf(peerName, "ed25519:1", testKey("b"), now)))
	f.Add([]byte(`{"server_name":"b.example","valid_until_ts":1,"verify_keys":{"ed25519:1":{"key":""}},"signatures":{"b.example":{"ed25519:1":"x"}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := parseKeyDocument(peerName, raw, now)
		if err != nil {
			return
		}
		for _, k := range d.keys {
			if !validKeyID(k.KeyID) || k.ValidUntil > now.Add(maxValidity).UnixMilli() || k.ValidUntil == 0 && k.Expired == 0 {
				t.Errorf("%+v", k)
			}
		}
	})
}
