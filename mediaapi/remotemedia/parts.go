package remotemedia

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strconv"

	"github.com/hearthd/hearth/mediaapi"
)

const (
	// maxMetadata is the size of the first part in bytes, which is an empty object today.
	maxMetadata = 64 << 10
	// maxFraming is what boundaries, headers and the first part may take beside the media.
	maxFraming = maxMetadata + 64<<10
	// maxBoundary is longer than RFC 2046 allows.
	maxBoundary = 200
	// maxLocation is the length of an address in bytes.
	maxLocation = 8 << 10
)

var (
	errNotMultipart = errors.New("the answer is not multipart/mixed with a boundary")
	errParts        = errors.New("the answer does not have exactly two parts")
	errMetadata     = errors.New("the first part of the answer is not JSON")
	errLocation     = errors.New("the location is too long")
)

// parts is what a federation endpoint answered: media, or where it is.
type parts struct {
	media    *mediaapi.RemoteMedia
	location string
}

// readParts reads an answer up to the bytes of its media, of which there may be limit. Closing the body of the media closes the answer.
//
// Spec: server-server-api#get_matrixfederationv1mediadownloadmediaid
func readParts(resp *http.Response, limit int64) (parts, error) {
	kind, params, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	boundary := params["boundary"]
	if err != nil || kind != "multipart/mixed" || boundary == "" || len(boundary) > maxBoundary {
		return parts{}, errNotMultipart
	}
	// One byte more than allowed gets through, so that who counts the media sees that it is too much.
	body := io.LimitReader(resp.Body, limit+1+maxFraming)
	r := multipart.NewReader(body, boundary)
	first, err := r.NextRawPart()
	if err != nil {
		return parts{}, errors.Join(errParts, err)
	}
	if err := checkMetadata(first); err != nil {
		return parts{}, err
	}
	second, err := r.NextRawPart()
	if err != nil {
		return parts{}, errors.Join(errParts, err)
	}
	if location := second.Header.Get("Location"); location != "" {
		// Spec: all other headers of the part are ignored then.
		if len(location) > maxLocation {
			return parts{}, errLocation
		}
		return parts{location: location}, nil
	}
	disposition := second.Header.Get("Content-Disposition")
	if disposition == "" {
		disposition = resp.Header.Get("Content-Disposition") // where some servers put it
	}
	return parts{media: &mediaapi.RemoteMedia{
		Body: closers{&lastPart{all: r, part: second}, resp.Body}, Size: length(second.Header), ContentType: second.Header.Get("Content-Type"),
		Filename: filename(disposition),
	}}, nil
}

// checkMetadata reads the first part. Nothing is defined to be in it yet, and some servers leave out its type.
func checkMetadata(p *multipart.Part) error {
	if t := p.Header.Get("Content-Type"); t != "" {
		if kind, _, err := mime.ParseMediaType(t); err != nil || kind != "application/json" {
			return errMetadata
		}
	}
	data, err := io.ReadAll(io.LimitReader(p, maxMetadata+1))
	if err != nil {
		return fmt.Errorf("read the first part: %w", err)
	}
	if data = bytes.TrimSpace(data); len(data) > maxMetadata || len(data) > 0 && !json.Valid(data) {
		return errMetadata
	}
	return nil
}

// length is the size that a part says it has, -1 if it says nothing that makes sense.
func length(h textproto.MIMEHeader) int64 {
	n, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// lastPart reads a part and makes sure that it is the last. One that breaks off ends with an error.
type lastPart struct {
	all  *multipart.Reader
	part *multipart.Part
	end  error // what comes after the last byte
}

func (l *lastPart) Read(p []byte) (int, error) {
	if l.end != nil {
		return 0, l.end
	}
	n, err := l.part.Read(p)
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	_, l.end = l.all.NextRawPart()
	switch {
	case l.end == nil:
		l.end = errParts
	case l.end != io.EOF: //nolint:errorlint // io.EOF itself is the closing boundary; where that is missing, an error wraps it
		l.end = fmt.Errorf("%w: %v", errParts, l.end)
	}
	return n, l.end
}
