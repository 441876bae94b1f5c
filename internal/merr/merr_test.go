package merr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
)

func TestFrom(t *testing.T) {
	tests := map[string]struct {
		err    error
		code   Code
		status int
	}{
		"a Matrix error":          {New(Forbidden, "x"), Forbidden, 403},
		"a wrapped one":           {fmt.Errorf("doing: %w", New(NotFound, "x").WithStatus(400)), NotFound, 400},
		"a joined one":            {errors.Join(errors.New("a"), New(TooLarge, "x")), TooLarge, 413},
		"a deadline":              {fmt.Errorf("query: %w", context.DeadlineExceeded), Unknown, 504},
		"a client that went away": {context.Canceled, Unknown, 499},
		"a foreign error":         {errors.New("password is hunter2"), Unknown, 500},
		"a Matrix error that wraps nothing beats a context": {errors.Join(context.Canceled, New(Forbidden, "x")), Forbidden, 403},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := From(tt.err)
			if got.Code != tt.code || got.Status != tt.status {
				t.Errorf("got %s with %d", got.Code, got.Status)
			}
		})
	}
	if From(nil) != nil {
		t.Error("no error became one")
	}
	if got := From(errors.New("password is hunter2")).Msg; got != "Internal server error" {
		t.Errorf("the text of a foreign error got out: %s", got)
	}
}

func TestJSON(t *testing.T) {
	tests := map[string]struct {
		err  *Error
		want string
	}{
		"the plain shape":                  {New(BadJSON, `a "b"`), `{"errcode":"M_BAD_JSON","error":"a \"b\""}`},
		"with fields":                      {New(UnknownToken, "x").With("soft_logout", true), `{"errcode":"M_UNKNOWN_TOKEN","error":"x","soft_logout":true}`},
		"fields cannot change the errcode": {New(Forbidden, "x").With("errcode", "M_X"), `{"errcode":"M_FORBIDDEN","error":"x"}`},
		"an empty text is still there":     {New(Forbidden, ""), `{"errcode":"M_FORBIDDEN","error":""}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := json.Marshal(tt.err)
			if err != nil || string(got) != tt.want {
				t.Errorf("got %s, error %v, want %s", got, err, tt.want)
			}
		})
	}
}

func TestWithCopies(t *testing.T) {
	base := Newf(Forbidden, "%d", 1).With("a", 1)
	other := base.With("b", 2).WithStatus(418)
	if len(base.Fields) != 1 || base.Status != 403 || base.Msg != "1" {
		t.Errorf("the original has changed: %+v", base)
	}
	if len(other.Fields) != 2 || other.Status != 418 {
		t.Errorf("the copy is %+v", other)
	}
}

func TestIsComparesCodes(t *testing.T) {
	err := fmt.Errorf("x: %w", New(NotFound, "there is no room"))
	if !errors.Is(err, New(NotFound, "")) || errors.Is(err, New(Forbidden, "")) {
		t.Error("errors.Is does not go by the code")
	}
	if !HasCode(err, NotFound) || HasCode(err, Forbidden) || HasCode(errors.New("x"), NotFound) {
		t.Error("HasCode does not go by the code")
	}
	if got := err.Error(); got != "x: M_NOT_FOUND: there is no room" {
		t.Errorf("the log would say %q", got)
	}
}

func TestStatusOfCodes(t *testing.T) {
	for code, want := range map[Code]int{
		Forbidden: 403, NotFound: 404, Unrecognized: 404, UnknownToken: 401, MissingToken: 401, LimitExceeded: 429, TooLarge: 413,
		NotYetUploaded: 504, CannotOverwriteMedia: 409, Unknown: 500, BadJSON: 400, NotJSON: 400, InvalidParam: 400, MissingParam: 400,
		UserInUse: 400, InvalidUsername: 400, Exclusive: 400, GuestAccessForbidden: 403, UserSuspended: 403, UserLocked: 401,
		UserDeactivated: 403, WrongRoomKeysVersion: 403, ConnectionFailed: 502, ConnectionTimeout: 504, ThreepidNotFound: 400,
	} {
		if got := code.Status(); got != want {
			t.Errorf("%s: got %d, want %d", code, got, want)
		}
	}
}
