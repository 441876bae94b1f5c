package web

import (
	"context"
	"strings"
	"testing"
)

func TestAdmission(t *testing.T) {
	who := func(_ context.Context, r *Request) (any, error) { return map[string]any{"user": r.Caller.User}, nil }
	s := newTestServer(t, Options{},
		Route{"GET", "/none", None, RateNone, who},
		Route{"GET", "/optional", Optional, RateNone, who},
		Route{"GET", "/guest", Guest, RateNone, who},
		Route{"GET", "/user/{id}", User, RateNone, func(_ context.Context, r *Request) (any, error) {
			if _, err := r.UserID("id"); err != nil {
				return nil, err
			}
			return who(context.Background(), r)
		}},
		Route{"POST", "/user", User, RateNone, who},
		Route{"POST", "/search", User | WhileSuspended, RateNone, who},
		Route{"POST", "/logout", User | WhileSuspended | WhileLocked, RateNone, who},
		Route{"GET", "/admin", Admin, RateNone, who},
	)
	tests := map[string]struct {
		method, target, auth string
		status               int
		code                 string // or the user
	}{
		"no token where none is needed":              {"GET", "/none", "", 200, ""},
		"a bad token where none is looked at":        {"GET", "/none", "Bearer nonsense", 200, ""},
		"no token where it is optional":              {"GET", "/optional", "", 200, ""},
		"a token where it is optional":               {"GET", "/optional", "Bearer alice", 200, "@alice:hs"},
		"a bad token where it is optional":           {"GET", "/optional", "Bearer nonsense", 401, "M_UNKNOWN_TOKEN"},
		"no token comes before a bad id":             {"GET", "/user/%ff", "", 401, "M_MISSING_TOKEN"},
		"a bad token comes before a bad id":          {"GET", "/user/bad", "Bearer nonsense", 401, "M_UNKNOWN_TOKEN"},
		"a bad id":                                   {"GET", "/user/bad", "Bearer alice", 400, "M_INVALID_PARAM"},
		"a user":                                     {"GET", "/user/@a:b", "Bearer alice", 200, "@alice:hs"},
		"a scheme in other letters":                  {"GET", "/user/@a:b", "bEARER alice", 200, "@alice:hs"},
		"more than one space":                        {"GET", "/user/@a:b", "Bearer   alice ", 200, "@alice:hs"},
		"a token in the query":                       {"GET", "/user/@a:b?access_token=alice", "", 200, "@alice:hs"},
		"the header beats the query":                 {"GET", "/user/@a:b?access_token=nonsense", "Bearer alice", 200, "@alice:hs"},
		"another scheme":                             {"GET", "/user/@a:b", "Basic alice", 401, "M_MISSING_TOKEN"},
		"a scheme without token":                     {"GET", "/user/@a:b", "Bearer ", 401, "M_MISSING_TOKEN"},
		"two tokens":                                 {"GET", "/user/@a:b", "Bearer alice alice", 401, "M_MISSING_TOKEN"},
		"an endless token":                           {"GET", "/user/@a:b", "Bearer " + strings.Repeat("a", maxToken+1), 401, "M_UNKNOWN_TOKEN"},
		"a guest where guests may":                   {"GET", "/guest", "Bearer guest", 200, "@1:hs"},
		"a guest where guests may not":               {"GET", "/user/@a:b", "Bearer guest", 403, "M_GUEST_ACCESS_FORBIDDEN"},
		"a user where administrators may":            {"GET", "/admin", "Bearer alice", 403, "M_FORBIDDEN"},
		"a guest where administrators may":           {"GET", "/admin", "Bearer guest", 403, "M_GUEST_ACCESS_FORBIDDEN"},
		"an administrator":                           {"GET", "/admin", "Bearer admin", 200, "@root:hs"},
		"a suspended user reads":                     {"GET", "/user/@a:b", "Bearer suspended", 200, "@suspended:hs"},
		"a suspended user writes":                    {"POST", "/user", "Bearer suspended", 403, "M_USER_SUSPENDED"},
		"a suspended user does what is open to them": {"POST", "/search", "Bearer suspended", 200, "@suspended:hs"},
		"a locked user reads":                        {"GET", "/user/@a:b", "Bearer locked", 401, "M_USER_LOCKED"},
		"a locked user logs out":                     {"POST", "/logout", "Bearer locked", 200, "@locked:hs"},
		"an application service as somebody":         {"GET", "/user/@a:b?user_id=@x:hs", "Bearer bridge", 200, "@as_user:hs"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var header []string
			if tt.auth != "" {
				header = []string{"Authorization: " + tt.auth}
			}
			w := call(s, tt.method, tt.target, "", header...)
			if w.Code != tt.status {
				t.Fatalf("got %d %s, want %d", w.Code, w.Body, tt.status)
			}
			if tt.status != 200 {
				if got := errcode(t, w); got != tt.code {
					t.Errorf("errcode is %s, want %s", got, tt.code)
				}
			} else if want := `{"user":"` + tt.code + `"}`; w.Body.String() != want {
				t.Errorf("got %s, want %s", w.Body, want)
			}
			if tt.code == "M_USER_LOCKED" && !strings.Contains(w.Body.String(), `"soft_logout":true`) {
				t.Errorf("there is no soft_logout in %s", w.Body)
			}
		})
	}
}

func TestWithoutAuthenticatorNobodyIsKnown(t *testing.T) {
	s, err := New(Options{}, []Route{{"GET", "/x", Guest, RateNone, says(nil)}})
	if err != nil {
		t.Fatal(err)
	}
	if w := call(s, "GET", "/x", "", "Authorization: Bearer alice"); errcode(t, w) != "M_UNKNOWN_TOKEN" {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func FuzzBearer(f *testing.F) {
	for _, h := range []string{"Bearer a", "bearer  b ", "X-Matrix origin=a", "Bearer", "Bearer a,b", "BEARER\ta"} {
		f.Add(h)
	}
	f.Fuzz(func(t *testing.T, header string) {
		token := bearer(header)
		if strings.ContainsAny(token, " ,") {
			t.Errorf("%q gives the token %q", header, token)
		}
		if token != "" && !strings.Contains(header, token) {
			t.Errorf("%q gives the token %q, which is not in it", header, token)
		}
	})
}

func TestApplicationServicesAreKnownWhereNobodyHasToBe(t *testing.T) {
	handler := func(_ context.Context, r *Request) (any, error) {
		return map[string]string{"appservice": r.Caller.AppserviceID, "user": string(r.Caller.User)}, nil
	}
	s := newTestServer(t, Options{Limits: Limits{Classes: map[Rate]Limit{RateRegister: {PerSecond: 0.001, Burst: 1}}}},
		Route{"POST", "/register", None | ForAppservices, RateRegister, handler}, Route{"POST", "/other", None, RateNone, handler})
	// However often, and whoever it wants to be: that user may be the one it is about to make.
	for range 3 {
		if w := call(s, "POST", "/register?user_id=@new:hs", "", "Authorization: Bearer bridge"); w.Code != 200 ||
			strings.TrimSpace(w.Body.String()) != `{"appservice":"irc","user":""}` {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	for _, token := range []string{"alice", "nonsense"} {
		if w := call(s, "POST", "/other", "", "Authorization: Bearer "+token); w.Code != 200 || !strings.Contains(w.Body.String(), `"user":""`) {
			t.Errorf("%s: %d %s", token, w.Code, w.Body)
		}
	}
	if w := call(s, "POST", "/register", "", "Authorization: Bearer alice"); w.Code != 200 || !strings.Contains(w.Body.String(), `"user":""`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := call(s, "POST", "/register", "", "Authorization: Bearer nonsense"); w.Code != 429 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
