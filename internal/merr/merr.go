// Package merr holds Matrix errors: an errcode, an HTTP status and a text meant for the client. From is the one mapping from any error
// to what goes over the wire. It refuses to carry internals: the text of a foreign error stays in the log.
package merr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// Error is an answer of the Matrix API that says no. Values are not changed after they were returned: the With methods copy.
type Error struct {
	Code   Code
	Status int            // HTTP status
	Msg    string         // for people; must hold nothing that the client may not know
	Fields map[string]any // additional top-level members of the JSON object, such as soft_logout
}

// New returns an error with the default status of its code.
func New(code Code, msg string) *Error {
	return &Error{Code: code, Status: code.Status(), Msg: msg}
}

// Newf is New with a format.
func Newf(code Code, format string, args ...any) *Error {
	return New(code, fmt.Sprintf(format, args...))
}

// Error returns the code and the text, for logs.
func (e *Error) Error() string { return string(e.Code) + ": " + e.Msg }

// Is reports whether target is a Matrix error with the same code, so that errors.Is(err, merr.New(merr.NotFound, "")) works.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// WithStatus returns a copy with another HTTP status, for the endpoints where the specification deviates from the usual one.
func (e *Error) WithStatus(status int) *Error {
	c := *e
	c.Status = status
	return &c
}

// With returns a copy with one more member in the JSON object.
func (e *Error) With(key string, value any) *Error {
	c := *e
	c.Fields = make(map[string]any, len(e.Fields)+1)
	for k, v := range e.Fields {
		c.Fields[k] = v
	}
	c.Fields[key] = value
	return &c
}

// MarshalJSON gives the standard error response.
//
// Spec: client-server-api#standard-error-response
func (e *Error) MarshalJSON() ([]byte, error) {
	if len(e.Fields) == 0 {
		return json.Marshal(struct {
			Code Code   `json:"errcode"`
			Msg  string `json:"error"`
		}{e.Code, e.Msg})
	}
	out := make(map[string]any, len(e.Fields)+2)
	for k, v := range e.Fields {
		out[k] = v
	}
	out["errcode"], out["error"] = e.Code, e.Msg
	return json.Marshal(out)
}

// StatusClientGone is the status under which a request is logged whose client went away before the answer. It is never read by anyone.
const StatusClientGone = 499

// From maps any error to one that may be sent. A Matrix error anywhere in the chain is taken as it is; a passed deadline is a 504, a
// cancelled context means that nobody waits for the answer any more; all else becomes a 500 that says nothing. From(nil) is nil.
func From(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.DeadlineExceeded):
		return New(Unknown, "The request took too long").WithStatus(http.StatusGatewayTimeout)
	case errors.Is(err, context.Canceled):
		return New(Unknown, "The request was cancelled").WithStatus(StatusClientGone)
	}
	return New(Unknown, "Internal server error")
}

// HasCode reports whether err is, or wraps, a Matrix error with this code.
func HasCode(err error, code Code) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}
