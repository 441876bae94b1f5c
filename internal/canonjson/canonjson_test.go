package canonjson

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCanonical(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		{"an empty object", ` { } `, `{}`},
		{"keys are sorted and spaces go", `{"b": "2", "a": 1}`, `{"a":1,"b":"2"}`},
		{"inner objects are sorted", `{"auth":{"z":[ {"b":1,"a":[]} ]}}`, `{"auth":{"z":[{"a":[],"b":1}]}}`},
		{"characters are not escaped", `{"a":"\u65E5 <&>"}`, `{"a":"日 <&>"}`},
		{"line separators are characters", `"\u2028\u2029"`, "\"\u2028\u2029\""},
		{"keys sort by code points", `{"本":2,"日":1}`, `{"日":1,"本":2}`},
		{"keys beyond the first plane come last", `{"\ud83d\ude00":1,"\uffee":2}`, "{\"\uffee\":2,\"\U0001f600\":1}"},
		{"quotes in keys stay escaped", `{"a\"b\\":1}`, `{"a\"b\\":1}`},
		{"control characters have their forms", `"\u0000\b\t\n\u000b\f\r\u001f\u007f"`, "\"\\u0000\\b\\t\\n\\u000b\\f\\r\\u001f\u007f\""},
		{"minus zero is zero", `[-0, 10]`, `[0,10]`},
		{"fractions are kept", `[1.50,1e3]`, `[1.50,1e3]`},
		{"the three constants", `[null,true,false]`, `[null,true,false]`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Canonical([]byte(test.in))
			if diff := cmp.Diff(test.want, string(got)); err != nil || diff != "" {
				t.Errorf("%v %s", err, diff)
			}
		})
	}
	for _, bad := range []string{``, `{`, `{} {}`, `[1,]`, `{"a":1}x`} {
		if got, err := Canonical([]byte(bad)); err == nil {
			t.Errorf("%q became %s", bad, got)
		}
	}
}

func TestWhatIsCanonicalIsRecognised(t *testing.T) {
	for _, canonical := range []string{`{}`, `[]`, `[1,-2,0,999999999999999]`, `{"a":{"b":["c\n\"\\",true,false,null]},"aa":1,"b":2,"日":"本"}`, `"x"`} {
		if !isCanonical([]byte(canonical)) {
			t.Errorf("%s is not recognised", canonical)
		}
	}
	for _, other := range []string{``, ` {}`, `{"b":1,"a":2}`, `{"a":1,"a":2}`, `{"a" :1}`, `[1, 2]`, `[-0]`, `[01]`, `[1.0]`, `[1e3]`, `["\u0041"]`, `["\/"]`, "[\"\xff\"]",
		`{"a":1}x`, `{`, `{"a"}`, `[1,]`, `"\`, `nul`, `9999999999999999`, `-`} {
		if isCanonical([]byte(other)) {
			t.Errorf("%s passes for canonical", other)
		}
	}
}

func BenchmarkCanonical(b *testing.B) {
	event := `{"auth_events":["$bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb","$ccccccccccccccccccccccccccccccccccccccccccc"],` +
		`"content":{"body":"Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor","msgtype":"m.text"},"depth":123,` +
		`"hashes":{"sha256":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},"origin_server_ts":1760000000000,` +
		`"prev_events":["$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"],"room_id":"!room:example.org","sender":"@alice:example.org",` +
		`"type":"m.room.message"}`
	for b.Loop() {
		if _, err := Strict([]byte(event)); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(len(event)))
}

func FuzzCanonical(f *testing.F) {
	f.Add([]byte(`{"b":[1,-0,"\u0000\"<"],"a\"":{"z":null}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := Canonical(raw)
		if err != nil {
			return
		}
		if !json.Valid(got) {
			t.Fatalf("%q became %q", raw, got)
		}
		if whole, err := recode(raw, false); err != nil || !bytes.Equal(got, whole) {
			t.Fatalf("%q became %q, and %q when it was looked at closely", raw, got, whole)
		}
		_, err1 := Strict(raw)
		if _, err2 := recode(raw, true); err1 != err2 {
			t.Fatalf("%q is judged %v, and %v when it was looked at closely", raw, err1, err2)
		}
		if again, err := Canonical(got); err != nil || !bytes.Equal(got, again) {
			t.Fatalf("%q became %q and then %q", raw, got, again)
		}
	})
}
