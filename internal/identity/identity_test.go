package identity

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
)

func FuzzParseThreepid(f *testing.F) {
	f.Add("email", "Alice@Example.org")
	f.Add("email", `"a b"@c`)
	f.Add("msisdn", "447700900000")
	f.Fuzz(func(t *testing.T, medium, address string) {
		p, err := ParseThreepid(medium, address)
		if err != nil {
			return
		}
		if again, err := ParseThreepid(p.Medium, p.Address); err != nil || again != p {
			t.Errorf("%q is read as %+v, and that as %+v, %v", address, p, again, err)
		}
		if strings.ContainsAny(p.Address, "\x00\r\n") {
			t.Errorf("%q has control characters", p.Address)
		}
	})
}

type answers struct {
	status int
	body   []byte
}

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: a.status, Body: io.NopCloser(bytes.NewReader(a.body)), Header: http.Header{}, Request: r}, nil
}

func (answers) IdentityAuthorization(string, string, id.ServerName, []byte) []string {
	return []string{"X-Matrix one", "X-Matrix two"}
}

// FuzzAnswers has identity servers answer anything: what is taken from it is within bounds, and so are the errors for the client.
func FuzzAnswers(f *testing.F) {
	f.Add(200, []byte(`{"lookup_pepper":"x","algorithms":["sha256"],"mappings":{"a":"@a:b"}}`))
	f.Add(200, []byte(`{"token":"t","display_name":"a...","public_keys":[{"public_key":"`+strings.Repeat("A", 43)+`","key_validity_url":"https://x"}]}`))
	f.Add(200, []byte(`{"token":"`+strings.Repeat("t", 256)+`","public_keys":[{"public_key":"`+strings.Repeat("A", 43)+`","key_validity_url":"https://x"}]}`))
	f.Add(200, []byte(`{"medium":"email","address":"a@b","mxid":"@a:b"}`))
	f.Add(200, []byte(`{"valid":true}`))
	f.Add(403, []byte(`{"errcode":"M_TERMS_NOT_SIGNED","error":"x"}`))
	f.Add(404, []byte(`not found`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if status < 200 || status > 599 || status/100 == 3 {
			return
		}
		a := answers{status, body}
		c := &Client{http: func() *http.Client { return &http.Client{Transport: a} }, signer: a}
		ctx, access, address := context.Background(), Access{Server: "is", Token: "t"}, Threepid{"email", "zoe@example.org"}
		stored, storeErr := c.StoreInvite(ctx, access, Invite{Threepid: address})
		if storeErr == nil && (!storedToken.MatchString(stored.Token) || len(stored.Token) > 255 || len(stored.Keys) == 0 || len(stored.Keys) > maxKeys || strings.Contains(stored.DisplayName, address.Address)) {
			t.Errorf("stored %+v", stored)
		}
		user, lookupErr := c.Lookup(ctx, access, address)
		if _, err := id.ParseUserID(string(user)); user != "" && err != nil {
			t.Errorf("found %q", user)
		}
		bound, bindErr := c.Bind(ctx, access, "sid", "secret", "@a:b")
		if again, err := ParseThreepid(bound.Medium, bound.Address); bindErr == nil && (err != nil || again != bound) {
			t.Errorf("bound %+v", bound)
		}
		done, unbindErr := c.Unbind(ctx, "is", address, "@a:b")
		if done && status/100 != 2 {
			t.Errorf("unbound with %d", status)
		}
		_, validErr := c.KeyValid(ctx, "https://is/valid", "key")
		for _, err := range []error{storeErr, lookupErr, bindErr, unbindErr, validErr} {
			if e, ok := err.(*merr.Error); err != nil && (!ok || e.Status < 400 || e.Status == 401 || e.Status > 599) {
				t.Errorf("the error is %#v", err)
			}
		}
	})
}

func TestWhoDoesNotUnbindIsToldApartFromWhoRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		body   string
		code   merr.Code // empty: the server does not support it
	}{
		"a page that is not there":        {404, "<html>", ""},
		"a bad request":                   {400, "", ""},
		"a method that is not there":      {501, "{}", ""},
		"an endpoint nobody knows":        {404, `{"errcode":"M_UNRECOGNIZED"}`, ""},
		"a refusal":                       {403, `{"errcode":"M_FORBIDDEN","error":"no"}`, merr.Forbidden},
		"a signature that does not count": {401, `{"errcode":"M_FORBIDDEN","error":"no"}`, merr.Unauthorized},
		"an address that is not there":    {404, `{"errcode":"M_NOT_FOUND","error":"no"}`, merr.NotFound},
		"a proxy that finds nobody":       {502, "<html>", merr.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			a := answers{test.status, []byte(test.body)}
			c := &Client{http: func() *http.Client { return &http.Client{Transport: a} }, signer: a}
			done, err := c.Unbind(context.Background(), "is", Threepid{"email", "a@b"}, "@a:b")
			if done || (err == nil) != (test.code == "") || err != nil && !merr.HasCode(err, test.code) {
				t.Errorf("got %t, %v", done, err)
			}
		})
	}
}
