package fedclient

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hearthd/hearth/internal/id"
)

// ErrUnreachable says that a server gave no answer that can be used: it is not found, does not answer in time, has trouble of its own (5xx) or
// talks something that is not Matrix. Another try later may go better.
var ErrUnreachable = errors.New("the server cannot be reached")

// ErrBackoff says that a server was not even asked, because it failed a short while ago. It wraps ErrUnreachable.
var ErrBackoff = fmt.Errorf("%w: it failed a short while ago and is left alone for now", ErrUnreachable)

// Error is what a server said when it refused a request. It must not be passed on to clients as it is: its author is a stranger.
type Error struct {
	Server  id.ServerName
	Status  int    // HTTP status, from 400 to 499
	Code    string // errcode; empty where there was none that makes sense
	Message string // for people, shortened
	// RetryAfter is how long the server asks to be left alone, with M_LIMIT_EXCEEDED.
	RetryAfter time.Duration
}

// Error returns who said what, for logs.
func (e *Error) Error() string {
	return fmt.Sprintf("%s answered %d %s: %s", e.Server, e.Status, e.Code, e.Message)
}

// MatrixError returns what programs look at, for those who must not import this package: the room server.
func (e *Error) MatrixError() (status int, code string) { return e.Status, e.Code }

// LeaveAlone returns for how long the server asks to be left alone.
func (e *Error) LeaveAlone() time.Duration { return e.RetryAfter }

// MatrixMessage returns what the server says to people.
func (e *Error) MatrixMessage() string { return e.Message }

const (
	maxErrorText  = 300
	maxRetryAfter = time.Hour
)

// parseError reads the body of an answer with a status of 400 or more; nil: it is no error of Matrix.
//
// Spec: client-server-api#standard-error-response
func parseError(server id.ServerName, status int, body []byte) *Error {
	var fields struct {
		Code         string `json:"errcode"`
		Message      string `json:"error"`
		RetryAfterMS int64  `json:"retry_after_ms"`
	}
	// A member of another type than it should have leaves the others as they are.
	var mistyped *json.UnmarshalTypeError
	if err := json.Unmarshal(body, &fields); err != nil && !errors.As(err, &mistyped) || fields.Code == "" {
		return nil
	}
	e := &Error{
		Server: server, Status: status, Code: shorten(fields.Code, 100), Message: shorten(fields.Message, maxErrorText),
	}
	if fields.RetryAfterMS > 0 {
		e.RetryAfter = time.Duration(min(fields.RetryAfterMS, maxRetryAfter.Milliseconds())) * time.Millisecond
	}
	return e
}

// shorten cuts a text of a stranger to at most n bytes of printable characters.
func shorten(s string, n int) string {
	out := make([]rune, 0, min(len(s), n))
	size := 0
	for _, r := range s {
		if r < ' ' || r == 0x7f {
			r = ' '
		}
		if size += len(string(r)); size > n {
			break
		}
		out = append(out, r)
	}
	return string(out)
}
