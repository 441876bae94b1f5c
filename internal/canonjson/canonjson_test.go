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
		if again, err := Canonical(got); err != nil || !bytes.Equal(got, again) {
			t.Fatalf("%q became %q and then %q", raw, got, again)
		}
	})
}
