package pusher

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/merr"
)

// body is a good body with some members set otherwise: name, JSON. An empty JSON leaves the member out.
func body(t testing.TB, changes ...string) json.RawMessage {
	t.Helper()
	members := map[string]json.RawMessage{"kind": json.RawMessage(`"http"`), "app_id": json.RawMessage(`"org.example.app"`),
		"pushkey": json.RawMessage(`"key"`), "app_display_name": json.RawMessage(`"App"`), "device_display_name": json.RawMessage(`"Phone"`),
		"lang": json.RawMessage(`"en"`), "data": json.RawMessage(`{"url":"` + gateway + `"}`)}
	for i := 0; i < len(changes); i += 2 {
		if members[changes[i]] = json.RawMessage(changes[i+1]); changes[i+1] == "" {
			delete(members, changes[i])
		}
	}
	out, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAWishIsRead(t *testing.T) {
	for _, tt := range []struct {
		name string
		body json.RawMessage
		want Wish
	}{
		{"with what is needed", body(t), Wish{Kind: "http", AppID: "org.example.app", Pushkey: "key", AppName: "App", DeviceName: "Phone", Lang: "en",
			Data: json.RawMessage(`{"url":"` + gateway + `"}`)}},
		{"with all there is", body(t, "profile_tag", `"tag"`, "append", "true", "data", `{"url":"x","format":"event_id_only","own":{"a":[1]}}`),
			Wish{Kind: "http", AppID: "org.example.app", Pushkey: "key", Append: true, AppName: "App", DeviceName: "Phone", Lang: "en", ProfileTag: "tag",
				Data: json.RawMessage(`{"url":"x","format":"event_id_only","own":{"a":[1]}}`)}},
		{"with null for what is not needed", body(t, "profile_tag", "null", "append", "null"), Wish{Kind: "http", AppID: "org.example.app", Pushkey: "key",
			AppName: "App", DeviceName: "Phone", Lang: "en", Data: json.RawMessage(`{"url":"` + gateway + `"}`)}},
		{"to delete", json.RawMessage(`{"kind":null,"app_id":"a","pushkey":"k"}`), Wish{AppID: "a", Pushkey: "k", Delete: true}},
		{"by e-mail", body(t, "kind", `"email"`, "app_id", `"m.email"`, "pushkey", `"A@Example.org"`, "data", `{"brand":"x"}`), Wish{Kind: "email",
			AppID: "m.email", Pushkey: "a@example.org", AppName: "App", DeviceName: "Phone", Lang: "en", Data: json.RawMessage(`{"brand":"x"}`)}},
		{"to delete, by e-mail", json.RawMessage(`{"kind":null,"app_id":"m.email","pushkey":"A@Example.org"}`),
			Wish{AppID: "m.email", Pushkey: "a@example.org", Delete: true}},
		{"to delete, with more", body(t, "kind", "null", "data", "7"), Wish{AppID: "org.example.app", Pushkey: "key", Delete: true}},
		{"with an app id as long as can be", body(t, "app_id", `"`+strings.Repeat("ü", 64)+`"`, "kind", "null"),
			Wish{AppID: strings.Repeat("ü", 64), Pushkey: "key", Delete: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseWish(tt.body)
			if err != nil {
				t.Fatal(err)
			}
			got.url = ""
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(Wish{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAWishMustMakeSense(t *testing.T) {
	long := func(n int) string { return `"` + strings.Repeat("x", n) + `"` }
	for _, tt := range []struct {
		name string
		body json.RawMessage
		code merr.Code
	}{
		{"no object", json.RawMessage(`[]`), merr.BadJSON},
		{"null", json.RawMessage(`null`), merr.BadJSON},
		{"no kind", body(t, "kind", ""), merr.MissingParam},
		{"a kind that is a number", body(t, "kind", "1"), merr.BadJSON},
		{"an unknown kind", body(t, "kind", `"pigeon"`), merr.InvalidParam},
		{"e-mail with an app id of its own", body(t, "kind", `"email"`, "pushkey", `"a@b.c"`), merr.InvalidParam},
		{"e-mail to nowhere", body(t, "kind", `"email"`, "app_id", `"m.email"`), merr.InvalidParam},
		{"no app id", body(t, "app_id", ""), merr.MissingParam},
		{"no app id of what is to be deleted", body(t, "kind", "null", "app_id", ""), merr.MissingParam},
		{"an empty app id", body(t, "app_id", `""`), merr.InvalidParam},
		{"an app id that is a list", body(t, "app_id", `["a"]`), merr.BadJSON},
		{"a long app id", body(t, "app_id", long(65)), merr.InvalidParam},
		{"no pushkey", body(t, "pushkey", "null"), merr.MissingParam},
		{"an empty pushkey", body(t, "pushkey", `""`), merr.InvalidParam},
		{"a long pushkey", body(t, "pushkey", long(513)), merr.InvalidParam},
		{"a pushkey with NUL", body(t, "pushkey", `"a\u0000"`), merr.InvalidParam},
		{"no app name", body(t, "app_display_name", ""), merr.MissingParam},
		{"no device name", body(t, "device_display_name", ""), merr.MissingParam},
		{"no language", body(t, "lang", ""), merr.MissingParam},
		{"a long language", body(t, "lang", long(513)), merr.InvalidParam},
		{"a profile tag that is an object", body(t, "profile_tag", "{}"), merr.BadJSON},
		{"append in words", body(t, "append", `"yes"`), merr.BadJSON},
		{"no data", body(t, "data", ""), merr.MissingParam},
		{"data that is no object", body(t, "data", `"https://push.example.org"`), merr.BadJSON},
		{"data without a URL", body(t, "data", `{}`), merr.MissingParam},
		{"a URL that is a number", body(t, "data", `{"url":1}`), merr.BadJSON},
		{"a long URL", body(t, "data", `{"url":`+long(2049)+`}`), merr.InvalidParam},
		{"a format that is a number", body(t, "data", `{"url":"x","format":1}`), merr.BadJSON},
		{"much data", body(t, "data", `{"url":"x","own":`+long(16<<10)+`}`), merr.InvalidParam},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if w, err := ParseWish(tt.body); !merr.HasCode(err, tt.code) {
				t.Errorf("%+v, %v; want %s", w, err, tt.code)
			}
		})
	}
}

func TestAGatewayMustBeOneThatCanBeReached(t *testing.T) {
	plain := newGateways(nil, nil)
	own := newGateways(nil, newHTTP())
	for url, want := range map[string]struct{ plain, own bool }{
		gateway: {true, true},
		"https://push.example.org:8443" + notifyPath:            {true, true},
		"https://push.example.org" + notifyPath + "?token=1":    {true, true},
		"http://push.example.org" + notifyPath:                  {false, true},
		"https://push.example.org/":                             {false, false},
		"https://push.example.org" + notifyPath + "/":           {false, false},
		"https://push.example.org/_matrix/push/v1/../v1/notify": {false, false},
		"https://push.example.org/_matrix/push/v1%2Fnotify":     {false, false},
		"https://user:pw@push.example.org" + notifyPath:         {false, false},
		"https://" + notifyPath:                                 {false, false},
		"ftp://push.example.org" + notifyPath:                   {false, false},
		"file://" + notifyPath:                                  {false, false},
		"push.example.org" + notifyPath:                         {false, false},
		"https://push.example.org:port" + notifyPath:            {false, false},
		"": {false, false},
	} {
		w, err := ParseWish(body(t, "data", fmt.Sprintf(`{"url":%q}`, url)))
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			g    gateways
			want bool
		}{{plain, want.plain}, {own, want.own}} {
			if err := tt.g.check(w); (err == nil) != tt.want || err != nil && !merr.HasCode(err, merr.InvalidParam) {
				t.Errorf("%s: %v", url, err)
			}
		}
	}
}

func FuzzParseWish(f *testing.F) {
	f.Add([]byte(body(f)))
	f.Add([]byte(body(f, "append", "true", "profile_tag", `"x"`)))
	f.Add([]byte(`{"kind":null,"app_id":"a","pushkey":"k"}`))
	f.Add([]byte(`{"kind":"email","app_id":"m.email","pushkey":"a@example.org","data":{"brand":"x"}}`))
	f.Add([]byte(`{"data":{"url":"http://[::1%25lo]/"}}`))
	g := newGateways(nil, nil)
	f.Fuzz(func(t *testing.T, b []byte) {
		w, err := ParseWish(b)
		if err != nil {
			var known *merr.Error
			if !errors.As(err, &known) || known.Status != 400 {
				t.Fatalf("%v is no answer", err)
			}
			return
		}
		for _, text := range []string{w.AppID, w.Pushkey, w.AppName, w.DeviceName, w.ProfileTag, w.Lang, w.url} {
			if strings.ContainsRune(text, 0) || !utf8.ValidString(text) || len(text) > maxURL {
				t.Errorf("%q is not to be stored", text)
			}
		}
		if w.AppID == "" || w.Pushkey == "" || !w.Delete && !json.Valid(w.Data) {
			t.Errorf("%+v says too little", w)
		}
		if !w.Delete && g.check(w) == nil && !strings.HasPrefix(strings.ToLower(w.url), "https:") {
			t.Errorf("%q is no https URL", w.url)
		}
	})
}
