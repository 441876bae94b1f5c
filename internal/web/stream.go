package web

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"
)

// Stream is an answer of any bytes. With Content it is served with ranges, conditions and HEAD, for which ETag in Header and ModTime are
// used; with Reader it is sent from start to end. What of the two implements io.Closer is closed in the end, sent or not.
type Stream struct {
	Status  int         // 0: 200. With Content, 206, 304, 412 and 416 are chosen as the request asks for them
	Header  http.Header // give at least Content-Type
	Content io.ReadSeeker
	Reader  io.Reader
	Size    int64     // of Reader in bytes, 0: unknown
	ModTime time.Time // of Content, zero: unknown
	Name    string    // of Content, only to guess a Content-Type that Header lacks
}

func (s *Server) stream(r *Request, b *Stream) {
	defer closeAll(b.Content, b.Reader)
	h := r.recorder.Header()
	for k, v := range b.Header {
		h[http.CanonicalHeaderKey(k)] = v
	}
	r.recorder.patience()
	r.places.leave() // what is read while it is sent takes no memory, however long that lasts
	if b.Content != nil && (b.Status == 0 || b.Status == http.StatusOK) {
		http.ServeContent(r.recorder, r.http, b.Name, b.ModTime, b.Content)
		return
	}
	from := b.Reader
	if b.Content != nil {
		from = b.Content
	}
	if b.Size > 0 {
		h["Content-Length"] = []string{strconv.FormatInt(b.Size, 10)}
	}
	if b.Status == 0 {
		b.Status = http.StatusOK
	}
	r.recorder.WriteHeader(b.Status)
	if from == nil || r.Method == http.MethodHead {
		return
	}
	n, err := io.Copy(r.recorder, from)
	if err != nil || b.Size > 0 && n < b.Size {
		// The answer has begun: only a broken connection tells the client that it is not whole.
		r.failure = errors.Join(errors.New("stream ended early"), err)
		panic(http.ErrAbortHandler)
	}
}

func closeAll(all ...any) {
	for _, v := range all {
		if c, ok := v.(io.Closer); ok {
			// It was only read from: an error in closing loses nothing.
			_ = c.Close()
		}
	}
}

// recorder remembers what was sent, and gives a client that stops reading a deadline.
type recorder struct {
	http.ResponseWriter
	status int
	size   int64
}

// WriteHeader sends the status.
func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write sends bytes, in pieces if they are many: a sync of some megabytes takes as long as it moves.
func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	total := 0
	for {
		piece := p[total:min(total+streamPiece, len(p))]
		if total > 0 {
			w.patience()
		}
		n, err := w.ResponseWriter.Write(piece)
		total += n
		w.size += int64(n)
		if err != nil || total == len(p) {
			return total, err
		}
	}
}

// streamPiece is the number of bytes that must get through within answerPatience.
const streamPiece = 512 << 10

// ReadFrom sends what src has, in pieces. It is here so that files go through the kernel (sendfile), which a plain Write would prevent.
func (w *recorder) ReadFrom(src io.Reader) (int64, error) {
	left := int64(1<<63 - 1)
	if l, ok := src.(*io.LimitedReader); ok {
		src, left = l.R, l.N
		defer func(all int64) { l.N -= all - left }(left)
	}
	var total int64
	for left > 0 {
		w.patience()
		piece := io.LimitedReader{R: src, N: min(left, streamPiece)}
		want := piece.N
		n, err := io.Copy(w.ResponseWriter, &piece)
		total += n
		left -= n
		w.size += n
		if err != nil || n < want {
			return total, err
		}
	}
	return total, nil
}

// Unwrap lets http.ResponseController find the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// patience starts the time within which the client must take the next piece. Not every ResponseWriter has deadlines, a test's for instance.
func (w *recorder) patience() {
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(after(answerPatience))
}
