package account

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/hearthd/hearth/storage/storagetest"
)

func TestStagesComeInTheOrderOfAFlow(t *testing.T) {
	flows := []Flow{{[]string{"a", "b"}}, {[]string{"a", "c", "d"}}, {[]string{"e"}}}
	for name, test := range map[string]struct {
		completed []string
		stage     string
		next      bool
	}{
		"first of a flow":          {nil, "a", true},
		"first of another flow":    {nil, "e", true},
		"second comes too early":   {nil, "b", false},
		"second":                   {[]string{"a"}, "b", true},
		"second of another flow":   {[]string{"a"}, "c", true},
		"third comes too early":    {[]string{"a"}, "d", false},
		"third":                    {[]string{"a", "c"}, "d", true},
		"of another flow":          {[]string{"a"}, "e", false},
		"nothing comes at the end": {[]string{"a", "b"}, "c", false},
		"unknown":                  {nil, "x", false},
	} {
		t.Run(name, func(t *testing.T) {
			in := &interaction{Flows: flows, Completed: test.completed}
			if got := in.next(test.stage); got != test.next {
				t.Errorf("got %v", got)
			}
		})
	}
	for _, done := range [][]string{{"a", "b"}, {"a", "c", "d"}, {"e"}} {
		if in := (&interaction{Flows: flows, Completed: done}); !in.complete() {
			t.Errorf("%v is not complete", done)
		}
	}
	if in := (&interaction{Flows: flows, Completed: []string{"a"}}); in.complete() {
		t.Error("one of two stages is complete")
	}
}

func FuzzAuth(f *testing.F) {
	f.Add(`{"auth":{"type":"m.login.password","identifier":{"type":"m.id.user","user":"a"},"password":"b","session":"c"},"x":1}`)
	f.Add(`{"auth":{"identifier":{"medium":"email","address":"a"}}}`)
	f.Add(`{"auth":null}`)
	f.Fuzz(func(t *testing.T, text string) {
		auth, body, err := splitAuth(json.RawMessage(text))
		if err != nil {
			return
		}
		if !json.Valid(body) || body[0] != '{' {
			t.Errorf("%q gives the body %q", text, body)
		}
		if auth != nil {
			if i, err := auth.normal(); err == nil && i.Type != "m.id.user" && i.Type != "m.id.thirdparty" {
				t.Errorf("%q gives an identifier %+v", text, i)
			}
		}
	})
}

func FuzzUsername(f *testing.F) {
	s, _ := newService(f, storagetest.Open(f), nil)
	f.Add("alice")
	f.Add("ALICE")
	f.Add("\u212a")
	f.Fuzz(func(t *testing.T, name string) {
		user, err := s.newUserID(name)
		if err != nil {
			return
		}
		if user.Localpart() != strings.ToLower(name) || user.Server() != "hs" || len(user) > 255 {
			t.Errorf("%q gives %q", name, user)
		}
	})
}

func FuzzNonce(f *testing.F) {
	s, _ := newService(f, storagetest.Open(f), nil)
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, nonce string) {
		if _, ok := s.checkNonce("secret", nonce); ok {
			t.Errorf("%q was never made", nonce)
		}
	})
}
