package spec

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Watcher looks at what an http.Handler is asked and answers.
type Watcher struct {
	// Report gets what is wrong, from many goroutines, and the errors of the checker itself.
	Report func(fmt.Stringer)
	// Requests says whose requests are checked, Responses to whom the responses are; nil: nobody. What clients of tests ask may well be wrong.
	Requests, Responses func(*http.Request) bool
}

// maxWatched is the size of bodies, in bytes, beyond which they are not looked at.
const maxWatched = 64 << 20

// Wrap puts the watcher around a handler.
func (w Watcher) Wrap(next http.Handler) http.Handler {
	checker, err := New()
	if err != nil {
		w.Report(failure{err})
		return next
	}
	check := func(x Exchange) {
		found, err := checker.Check(x)
		if err != nil {
			w.Report(failure{err})
		}
		for _, v := range found {
			w.Report(v)
		}
	}
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		x := Exchange{Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery}
		if w.Requests != nil && w.Requests(r) {
			// What was read is put before what was not.
			body, _ := io.ReadAll(io.LimitReader(r.Body, maxWatched))
			r.Body = struct {
				io.Reader
				io.Closer
			}{io.MultiReader(bytes.NewReader(body), r.Body), r.Body}
			request := x
			request.Body = body
			check(request)
		}
		if w.Responses == nil || !w.Responses(r) {
			next.ServeHTTP(rw, r)
			return
		}
		tee := &tee{ResponseWriter: rw}
		next.ServeHTTP(tee, r)
		if tee.status == 0 {
			tee.status = http.StatusOK
		}
		x.Status, x.Header, x.Body = tee.status, rw.Header(), tee.body.Bytes()
		if r.Method != http.MethodOptions && tee.body.Len() < maxWatched {
			check(x)
		}
	})
}

// failure is an error of the checker.
type failure struct{ error }

// String is the error.
func (f failure) String() string { return f.Error() }

// tee keeps what is JSON of what is written.
type tee struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

// WriteHeader sends the status.
func (t *tee) WriteHeader(status int) {
	if t.status < http.StatusOK {
		t.status = status
	}
	t.ResponseWriter.WriteHeader(status)
}

// Write sends bytes.
func (t *tee) Write(p []byte) (int, error) {
	if strings.HasPrefix(t.Header().Get("Content-Type"), "application/json") && t.body.Len() < maxWatched {
		t.body.Write(p)
	}
	return t.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController find the connection.
func (t *tee) Unwrap() http.ResponseWriter { return t.ResponseWriter }
