package hearthtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hearthd/hearth/internal/id"
)

// Password is everybody's.
const Password = "correct horse battery staple"

// clientAPI is where paths without a slash at their beginning start.
const clientAPI = "/_matrix/client/v3/"

// User is somebody at one device, or nobody. Its methods fail the test when the server does not do what they are for.
type User struct {
	// ID, Device and Token are what the login gave; Token is used for all requests and may be replaced.
	ID     id.UserID
	Device id.DeviceID
	Token  string

	server *Server
	t      testing.TB
	txn    *atomic.Int64 // of the device, in all its subtests
	view   view
}

// User registers somebody and logs them in.
func (s *Server) User(name string) *User {
	s.t.Helper()
	nobody := s.Nobody()
	return nobody.as(nobody.Must("POST", "register", Fields{
		"username": name, "password": Password, "auth": Fields{"type": "m.login.dummy"},
	}))
}

// Admin makes an administrator, as `hearth user create --admin` does, and logs them in.
func (s *Server) Admin(name string) *User {
	s.t.Helper()
	created, err := s.app.Console().CreateUser(s.t.Context(), name, Password, true)
	if err != nil {
		s.t.Fatalf("create %s: %v", name, err)
	}
	nobody := s.Nobody()
	return nobody.as(nobody.Must("POST", "login", LoginRequest(id.UserID(created))))
}

// Guest makes an account for a guest. The configuration must allow them.
func (s *Server) Guest() *User {
	s.t.Helper()
	nobody := s.Nobody()
	return nobody.as(nobody.Must("POST", "register?kind=guest", Fields{}))
}

// Nobody is somebody without a token.
func (s *Server) Nobody() *User { return &User{server: s, t: s.t, txn: new(atomic.Int64)} }

// Server is where the user has their account.
func (u *User) Server() *Server { return u.server }

// Login logs the user in at another device. Fields are added to the request.
func (u *User) Login(fields ...Fields) *User {
	u.t.Helper()
	nobody := u.server.Nobody()
	return nobody.as(nobody.Must("POST", "login", LoginRequest(u.ID, fields...)))
}

// LoginRequest is the body of a login with the password. Fields are added to it.
func LoginRequest(user id.UserID, fields ...Fields) Fields {
	return merge(Fields{
		"type": "m.login.password", "identifier": Fields{"type": "m.id.user", "user": user}, "password": Password,
	}, fields)
}

// Confirmation is the auth member that confirms an operation with the password.
func (u *User) Confirmation() Fields {
	return Fields{"type": "m.login.password", "identifier": Fields{"type": "m.id.user", "user": u.ID}, "password": Password}
}

func merge(into Fields, more []Fields) Fields {
	for _, fields := range more {
		for k, v := range fields {
			into[k] = v
		}
	}
	return into
}

// as is the user of an answer to a login.
func (u *User) as(r Response) *User {
	return &User{
		ID: id.UserID(r.Get("user_id").Str), Device: id.DeviceID(r.Get("device_id").Str), Token: r.Get("access_token").Str,
		server: u.server, t: u.t, txn: new(atomic.Int64),
	}
}

// With is the same device in a subtest.
func (u *User) With(t testing.TB) *User {
	return &User{ID: u.ID, Device: u.Device, Token: u.Token, server: u.server, t: t, txn: u.txn}
}

// Do makes a request. A path without a slash at its beginning is one of the client API, below /_matrix/client/v3/. A body that is nil
// is none, a string or []byte is sent as it is, anything else as JSON.
func (u *User) Do(method, path string, body any) Response {
	u.t.Helper()
	return u.DoWith(method, path, body, http.Header{"Content-Type": {"application/json"}})
}

// DoWith is Do with headers of the request.
func (u *User) DoWith(method, path string, body any, header http.Header) Response {
	u.t.Helper()
	r, err := u.try(method, path, body, header)
	if err != nil {
		u.t.Fatal(err)
	}
	return r
}

// Try is Do for goroutines other than the test's: it returns what Do would fail the test with.
func (u *User) Try(method, path string, body any) (Response, error) {
	return u.try(method, path, body, http.Header{"Content-Type": {"application/json"}})
}

func (u *User) try(method, path string, body any, header http.Header) (Response, error) {
	if !strings.HasPrefix(path, "/") {
		path = clientAPI + path
	}
	content, err := encode(body)
	if err != nil {
		return Response{}, fmt.Errorf("%s %s: encode the body: %w", method, path, err)
	}
	req, err := http.NewRequestWithContext(u.t.Context(), method, u.server.URL+path, bytes.NewReader(content))
	if err != nil {
		return Response{}, fmt.Errorf("%s %s: %w", method, path, err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	if u.Token != "" {
		req.Header.Set("Authorization", "Bearer "+u.Token)
	}
	return send(u.server.http, req)
}

func encode(body any) ([]byte, error) {
	switch b := body.(type) {
	case nil:
		return nil, nil
	case string:
		return []byte(b), nil
	case []byte:
		return b, nil
	}
	return json.Marshal(body)
}

// Must is Do for a request that has to succeed.
func (u *User) Must(method, path string, body any) Response {
	u.t.Helper()
	r := u.Do(method, path, body)
	if r.Status != http.StatusOK {
		u.t.Fatalf("%s %s: %d %s", method, path, r.Status, r.Body)
	}
	return r
}

// Get is Must for what is read.
func (u *User) Get(path string) Response {
	u.t.Helper()
	return u.Must("GET", path, nil)
}

// Refused is Do for a request that has to fail with a Matrix error. Anything else is an error of the test, which goes on.
func (u *User) Refused(method, path string, body any, status int, errcode string) Response {
	u.t.Helper()
	r := u.Do(method, path, body)
	if !r.Refused(status, errcode) {
		u.t.Errorf("%s %s: got %d %s, want %d %s", method, path, r.Status, r.Body, status, errcode)
	}
	return r
}

// nextTxn is a transaction id that this device has not used.
func (u *User) nextTxn() string { return fmt.Sprintf("txn%d", u.txn.Add(1)) }
