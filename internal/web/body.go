package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/hearthd/hearth/internal/merr"
)

const (
	// maxDepth is the nesting of objects and arrays that a body may have.
	maxDepth = 100
	// trustedLength is the memory, in bytes, that is set aside for a body because the client says that it is so long.
	trustedLength = 64 << 10
	// bodyPatience is how long a client may leave a pause while it sends a body.
	bodyPatience = 30 * time.Second
	// bodyRate is the number of bytes per second that a body brings at least, once answerPatience has passed: whoever sends a byte now and
	// then would hold a connection and its memory for days.
	bodyRate = 1 << 10
	// answerPatience is how long a client has for a piece of an answer. It is longer, since net/http may first wait for the rest of a
	// body that nobody reads, and should still be able to answer then.
	answerPatience = 2 * bodyPatience
)

// after is the deadline of a connection. The network has the machine's clock, not the injected one.
func after(patience time.Duration) time.Time { return time.Now().Add(patience) }

// BodyLimit gives a handler another limit for the body, in bytes, than the server has.
func BodyLimit(bytes int64, h Handler) Handler {
	return func(ctx context.Context, r *Request) (any, error) {
		r.LimitBody(bytes)
		return h(ctx, r)
	}
}

// LimitBody sets the limit of the body, in bytes, where it is known only at run time. Call it before reading.
func (r *Request) LimitBody(bytes int64) { r.limit = bytes }

// JSON decodes the body into v. The Content-Type does not matter. M_NOT_JSON: it is not JSON, or empty, or not UTF-8; M_BAD_JSON: a value
// has the wrong type, or is nested too deeply; M_TOO_LARGE: it is longer than the limit.
func (r *Request) JSON(v any) error {
	data, err := r.jsonBody()
	if err != nil {
		return err
	}
	if len(data) == 0 {
		return merr.New(merr.NotJSON, "The body is empty")
	}
	return decode(data, v)
}

// JSONOptional is JSON for the endpoints where an empty body means {}.
func (r *Request) JSONOptional(v any) error {
	data, err := r.jsonBody()
	if err != nil || len(data) == 0 {
		return err
	}
	return decode(data, v)
}

// Object returns the body as it came, when it is a JSON object; otherwise the errors of JSON.
func (r *Request) Object() (json.RawMessage, error) {
	data, err := r.jsonBody()
	if err != nil {
		return nil, err
	}
	if len(data) == 0 || !json.Valid(data) {
		return nil, merr.New(merr.NotJSON, "The body is not JSON")
	}
	if data[0] != '{' {
		return nil, merr.New(merr.BadJSON, "The body must be an object")
	}
	return data, nil
}

// jsonBody reads the body and makes sure that it can be decoded safely.
func (r *Request) jsonBody() ([]byte, error) {
	var buf bytes.Buffer
	// The client may claim any length: what it really sends makes the buffer grow beyond this.
	buf.Grow(int(min(max(r.http.ContentLength, 0), trustedLength)) + bytes.MinRead)
	if _, err := buf.ReadFrom(r.Body()); err != nil {
		return nil, err
	}
	data := bytes.TrimSpace(buf.Bytes())
	if !utf8.Valid(data) {
		return nil, merr.New(merr.NotJSON, "The body is not UTF-8")
	}
	if tooDeep(data) {
		return nil, merr.Newf(merr.BadJSON, "The body is nested more than %d levels deep", maxDepth)
	}
	return data, nil
}

func decode(data []byte, v any) error {
	err := json.Unmarshal(data, v)
	if err == nil {
		return nil
	}
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	var own *merr.Error
	switch {
	case errors.As(err, &syntax):
		return merr.New(merr.NotJSON, "The body is not JSON")
	case errors.As(err, &own):
		return own
	case errors.As(err, &kind) && kind.Field == "":
		return merr.Newf(merr.BadJSON, "The body must not be of the type %s", kind.Value)
	case errors.As(err, &kind):
		return merr.Newf(merr.BadJSON, "%s must not be of the type %s", kind.Field, kind.Value)
	}
	return merr.New(merr.BadJSON, "The body has a wrong value: "+err.Error())
}

// tooDeep looks whether objects and arrays are nested deeper than maxDepth. It need not understand JSON: on other input it may say
// anything, as the decoder refuses that.
func tooDeep(data []byte) bool {
	depth := 0
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '{', '[':
			if depth++; depth > maxDepth {
				return true
			}
		case '}', ']':
			depth--
		case '"':
			i++
			for i < len(data) && data[i] != '"' {
				if data[i] == '\\' {
					i++
				}
				i++
			}
		}
	}
	return false
}

// ContentLength returns the length of the body in bytes, -1 if the client did not say.
func (r *Request) ContentLength() int64 { return r.http.ContentLength }

// Body returns the body for handlers that want its bytes. Reading beyond the limit fails with M_TOO_LARGE; a client that stops sending,
// or hardly sends at all, loses its connection after a while.
func (r *Request) Body() io.Reader {
	if r.received != nil {
		return bytes.NewReader(r.received)
	}
	if r.http.ContentLength > r.limit {
		return failed{tooLarge(r.limit)}
	}
	return &bodyReader{
		r:       r.http.Body,
		left:    r.limit,
		limit:   r.limit,
		control: http.NewResponseController(r.recorder.ResponseWriter),
		begun:   time.Now(), // of the network, as after
	}
}

func tooLarge(limit int64) error {
	return merr.Newf(merr.TooLarge, "The body is larger than the %d bytes allowed here", limit)
}

type failed struct{ err error }

func (f failed) Read([]byte) (int, error) { return 0, f.err }

// bodyReader reads up to a limit, with a deadline for each piece.
type bodyReader struct {
	r       io.Reader
	left    int64
	limit   int64
	control *http.ResponseController
	begun   time.Time
	err     error
}

// deadline is when the next piece must be there.
func (b *bodyReader) deadline() time.Time {
	pause := after(bodyPatience)
	whole := b.begun.Add(answerPatience + time.Duration((b.limit-b.left)/bodyRate)*time.Second)
	if whole.Before(pause) {
		return whole
	}
	return pause
}

func (b *bodyReader) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1] // one more than allowed, to notice
	}
	// Not every ResponseWriter has deadlines, a test's for instance; the limit holds without.
	_ = b.control.SetReadDeadline(b.deadline())
	n, err := b.r.Read(p)
	if int64(n) > b.left {
		n, err = int(b.left), tooLarge(b.limit)
	}
	b.left -= int64(n)
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF):
		// The deadline must go, or net/http takes its passing for the end of the connection while the handler still works.
		_ = b.control.SetReadDeadline(time.Time{})
		b.err = io.EOF
	case merr.HasCode(err, merr.TooLarge):
		b.err = err
	default:
		b.err = merr.New(merr.Unknown, "The body could not be read").WithStatus(http.StatusBadRequest)
	}
	return n, b.err
}
