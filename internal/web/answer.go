package web

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/hearthd/hearth/internal/merr"
)

// RawJSON is a body that is JSON already. It is sent as it is.
type RawJSON []byte

// Empty is the body {}.
type Empty struct{}

// Status is an answer with another status than 200. Its body is anything a handler may return but a Status.
type Status struct {
	Code int
	Body any
}

// WithHeader is an answer with additional headers. Its body is anything a handler may return.
type WithHeader struct {
	Header http.Header
	Body   any
}

// Redirect sends the client somewhere else. A Code of 0 is 302.
type Redirect struct {
	Code int
	URL  string
}

// answer sends what a handler returned.
func (s *Server) answer(r *Request, body any, err error) {
	if err != nil {
		r.failure = err
		s.answerError(r, merr.From(err))
		return
	}
	status := http.StatusOK
	for {
		switch b := body.(type) {
		case Status:
			status, body = b.Code, b.Body
			continue
		case WithHeader:
			for k, v := range b.Header {
				r.recorder.Header()[http.CanonicalHeaderKey(k)] = v
			}
			body = b.Body
			continue
		case nil, Empty:
			s.writeJSON(r, status, []byte("{}"))
		case json.RawMessage:
			s.writeJSON(r, status, b)
		case RawJSON:
			s.writeJSON(r, status, b)
		case Redirect:
			s.redirect(r, b)
		case Stream:
			s.stream(r, &b)
		case *Stream:
			s.stream(r, b)
		default:
			s.encode(r, status, body)
		}
		return
	}
}

func (s *Server) redirect(r *Request, to Redirect) {
	if to.Code == 0 {
		to.Code = http.StatusFound
	}
	r.recorder.Header().Set("Location", to.URL)
	r.recorder.Header()["Content-Length"] = []string{"0"}
	r.recorder.WriteHeader(to.Code)
}

// answerError sends a standard error response.
func (s *Server) answerError(r *Request, e *merr.Error) {
	h := r.recorder.Header()
	if e.Status == http.StatusTooManyRequests {
		if ms, ok := e.Fields[retryAfterMS].(int64); ok {
			// Spec: client-server-api#rate-limiting. The header counts in whole seconds: up, or the client comes too early.
			h.Set("Retry-After", strconv.FormatInt(int64(math.Ceil(float64(ms)/1000)), 10))
		}
	}
	if e.Status >= http.StatusInternalServerError {
		h.Set("X-Request-Id", s.requestID(r))
	}
	s.encode(r, e.Status, e)
}

// encode sends a value as JSON.
func (s *Server) encode(r *Request, status int, body any) {
	enc := s.encoders.get()
	defer s.encoders.put(enc)
	if err := enc.json.Encode(body); err != nil {
		r.failure = err
		enc.buf.Reset()
		status = http.StatusInternalServerError
		enc.buf.WriteString(`{"errcode":"M_UNKNOWN","error":"Internal server error"}`)
	}
	s.writeJSON(r, status, bytes.TrimSuffix(enc.buf.Bytes(), []byte("\n")))
}

// gzipFrom is the size, in bytes, from which compression pays: below, it all fits into one packet.
const gzipFrom = 1400

func (s *Server) writeJSON(r *Request, status int, data []byte) {
	h := r.recorder.Header()
	if s.gzip && len(data) >= gzipFrom && acceptsGzip(r.Header.Get("Accept-Encoding")) {
		enc := s.encoders.get()
		defer s.encoders.put(enc)
		data = enc.compress(data)
		h.Set("Content-Encoding", "gzip")
	}
	if s.gzip {
		h.Set("Vary", "Accept-Encoding")
	}
	h["Content-Type"] = s.cors.json
	h["Content-Length"] = []string{strconv.Itoa(len(data))}
	r.recorder.patience()
	r.recorder.WriteHeader(status)
	// An error here means that the client is gone: there is nobody left to tell.
	_, _ = r.recorder.Write(data)
}

func acceptsGzip(header string) bool {
	for part := range strings.SplitSeq(header, ",") {
		coding, param, _ := strings.Cut(part, ";")
		if strings.EqualFold(strings.TrimSpace(coding), "gzip") {
			q := strings.ReplaceAll(param, " ", "")
			return q != "q=0" && q != "q=0.0" && q != "q=0.00" && q != "q=0.000"
		}
	}
	return false
}

// encoder is a buffer and what writes into it.
type encoder struct {
	buf  bytes.Buffer
	json *json.Encoder
	gzip *gzip.Writer
}

func (e *encoder) compress(data []byte) []byte {
	if e.gzip == nil {
		// The level is valid, so there can be no error.
		e.gzip, _ = gzip.NewWriterLevel(&e.buf, gzip.BestSpeed)
	} else {
		e.gzip.Reset(&e.buf)
	}
	// A buffer in memory does not fail.
	_, _ = e.gzip.Write(data)
	_ = e.gzip.Close()
	return e.buf.Bytes()
}

type encoderPool struct{ pool sync.Pool }

// maxKept is the size of a buffer, in bytes, above which it is not kept for the next answer.
const maxKept = 1 << 20

func (p *encoderPool) get() *encoder {
	if e, ok := p.pool.Get().(*encoder); ok {
		return e
	}
	e := &encoder{}
	e.json = json.NewEncoder(&e.buf)
	e.json.SetEscapeHTML(false)
	return e
}

func (p *encoderPool) put(e *encoder) {
	if e.buf.Cap() <= maxKept {
		e.buf.Reset()
		p.pool.Put(e)
	}
}
