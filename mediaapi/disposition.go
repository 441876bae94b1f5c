package mediaapi

import (
	"mime"
	"strings"
	"unicode/utf8"

	"github.com/hearthd/hearth/internal/merr"
)

// inlineTypes are the types that a browser may show without running anything.
//
// Spec: client-server-api#serving-inline-content
var inlineTypes = map[string]bool{
	"text/css": true, "text/plain": true, "text/csv": true, "application/json": true, "application/ld+json": true,
	"image/jpeg": true, "image/gif": true, "image/png": true, "image/apng": true, "image/webp": true, "image/avif": true,
	"video/mp4": true, "video/webm": true, "video/ogg": true, "video/quicktime": true,
	"audio/mp4": true, "audio/webm": true, "audio/aac": true, "audio/mpeg": true, "audio/ogg": true, "audio/wave": true,
	"audio/wav": true, "audio/x-wav": true, "audio/x-pn-wav": true, "audio/flac": true, "audio/x-flac": true,
}

// disposition returns the value of Content-Disposition: inline for the types that are safe to show, else attachment, and the name if there
// is one.
func disposition(contentType, filename string) string {
	kind := "attachment"
	// Parameters and case do not change what a type is.
	bare, _, _ := strings.Cut(contentType, ";")
	if inlineTypes[strings.ToLower(strings.TrimSpace(bare))] {
		kind = "inline"
	}
	if filename == "" {
		return kind
	}
	return mime.FormatMediaType(kind, map[string]string{"filename": filename})
}

const (
	// octetStream is the type of what has none.
	octetStream = "application/octet-stream"
	// maxContentType and maxFilename are in bytes. Nothing real is as long.
	maxContentType = 255
	maxFilename    = 1024
)

// cleanContentType returns a type as it was given when it can be sent again as a header, else the type of unknown bytes.
func cleanContentType(given string) string {
	given = strings.TrimSpace(given)
	if given == "" || len(given) > maxContentType {
		return octetStream
	}
	for i := 0; i < len(given); i++ {
		if given[i] < ' ' || given[i] > '~' {
			return octetStream
		}
	}
	bare, _, _ := strings.Cut(given, ";")
	if kind, sub, ok := strings.Cut(strings.TrimSpace(bare), "/"); !ok || !token(kind) || !token(sub) {
		return octetStream
	}
	return given
}

// token reports whether s is a token of HTTP (RFC 9110, section 5.6.2).
func token(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		alphanumeric := '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !alphanumeric && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}

// checkFilename refuses names that cannot be kept as they are, since what was given must come back the same.
func checkFilename(name string) error {
	switch {
	case len(name) > maxFilename:
		return merr.Newf(merr.InvalidParam, "The file name is longer than %d bytes", maxFilename)
	case !utf8.ValidString(name) || strings.IndexByte(name, 0) >= 0:
		return merr.New(merr.InvalidParam, "The file name is not valid text")
	}
	return nil
}
