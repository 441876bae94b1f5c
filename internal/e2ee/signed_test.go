package e2ee

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/merr"
)

func TestParseSigned(t *testing.T) {
	for _, test := range []struct {
		name, in string
		want     string
		sigs     signatures
		code     merr.Code
	}{
		{name: "an object", in: `{"b":1,"a":"x"}`, want: `{"a":"x","b":1}`},
		{name: "signatures and unsigned are set apart", in: `{"unsigned":{"x":1},"a":1,"signatures":{"@a:b":{"ed25519:c":"d"}}}`, want: `{"a":1}`,
			sigs: signatures{"@a:b": {"ed25519:c": "d"}}},
		{name: "inner ones are not", in: `{"a":{"signatures":{},"unsigned":{}}}`, want: `{"a":{"signatures":{},"unsigned":{}}}`},
		{name: "nothing but signatures", in: `{"signatures":{}}`, want: `{}`, sigs: signatures{}},
		{name: "null", in: `null`, code: merr.BadJSON},
		{name: "a list", in: `[]`, code: merr.BadJSON},
		{name: "signatures that are a text", in: `{"signatures":"x"}`, code: merr.BadJSON},
		{name: "signatures that are numbers", in: `{"signatures":{"@a:b":{"c":1}}}`, code: merr.BadJSON},
		{name: "too long", in: `{"a":"` + string(bytes.Repeat([]byte("x"), maxObject)) + `"}`, code: merr.TooLarge},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseSigned(json.RawMessage(test.in))
			if test.code != "" {
				if !merr.HasCode(err, test.code) {
					t.Errorf("got %s, %v", got.canonical, err)
				}
				return
			}
			if err != nil || string(got.canonical) != test.want || !cmp.Equal(got.signatures, test.sigs) {
				t.Errorf("got %s, %v, %v", got.canonical, got.signatures, err)
			}
		})
	}
}

func TestJoin(t *testing.T) {
	for _, test := range []struct {
		name     string
		bare     string
		sigs     signatures
		unsigned string
		want     string
	}{
		{"all parts", `{"a":1}`, signatures{"@a:b": {"k": "s"}}, `{"u":2}`, `{"a":1,"signatures":{"@a:b":{"k":"s"}},"unsigned":{"u":2}}`},
		{"nothing unsigned", `{"a":1}`, signatures{}, ``, `{"a":1,"signatures":{}}`},
		{"an empty object", `{}`, signatures{}, `{}`, `{"signatures":{},"unsigned":{}}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			var unsigned json.RawMessage
			if test.unsigned != "" {
				unsigned = json.RawMessage(test.unsigned)
			}
			if got := string(join(json.RawMessage(test.bare), test.sigs, unsigned)); got != test.want {
				t.Errorf("got %s", got)
			}
		})
	}
}

// FuzzParseSigned makes sure that whatever is accepted can be given out again and means the same then.
func FuzzParseSigned(f *testing.F) {
	f.Add([]byte(`{"a\"":1,"signatures":{"@a:b":{"c":"d"}},"unsigned":[]}`))
	f.Add([]byte(`{"signatures":null,"b":[1e3,"\u0000"]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		first, err := parseSigned(raw)
		if err != nil {
			return
		}
		object := join(first.canonical, stored(first.signatures.of("@a:b")), json.RawMessage(`{}`))
		again, err := parseSigned(object)
		if err != nil && len(object) <= maxObject || err == nil && !bytes.Equal(first.canonical, again.canonical) {
			t.Fatalf("%q became %q: %v", raw, object, err)
		}
	})
}

// FuzzParseKeys feeds whole uploads to the parsers of keys.
func FuzzParseKeys(f *testing.F) {
	f.Add([]byte(`{"device_keys":{"user_id":"@a:b","device_id":"D","algorithms":[],"keys":{},"signatures":{}},"one_time_keys":{"x:y":{"key":"z"}}}`))
	f.Add([]byte(`{"one_time_keys":{"x:y":null,":":"","a:b":"c"},"fallback_keys":{"x:\u0000":{}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var up KeyUpload
		if json.Unmarshal(raw, &up) != nil {
			return
		}
		if present(up.DeviceKeys) {
			if k, err := parseDeviceKeys("@a:b", "D", up.DeviceKeys); err == nil && (!json.Valid(k.Keys) || !json.Valid(k.Signatures)) {
				t.Errorf("stored %s and %s", k.Keys, k.Signatures)
			}
			_, _ = parseCrossSigning("@a:b", "master", up.DeviceKeys)
		}
		keys, err := parseKeys(up.OneTimeKeys, maxOneTimeKeys)
		if err != nil {
			return
		}
		for _, k := range keys {
			if !json.Valid(k.Key) || !goodName(k.Algorithm) || !goodName(k.ID) {
				t.Errorf("accepted %q %q %s", k.Algorithm, k.ID, k.Key)
			}
		}
	})
}

func TestVerifyRefusesWhatIsNoKeyOrSignature(t *testing.T) {
	s := signed{canonical: json.RawMessage(`{}`)}
	for _, text := range []string{"", "a", "====", "!", "AAAA"} {
		if publicKey(text) != nil {
			t.Errorf("%q passes for a key", text)
		}
		if s.verify(make([]byte, 32), text) || s.verify(nil, text) {
			t.Errorf("%q passes for a signature", text)
		}
	}
}
