package id

import (
	"errors"
	"strings"
)

// MXC is a content URI taken apart, mxc://server/mediaID. The zero value means no content.
type MXC struct {
	Server  ServerName
	MediaID string
}

const mxcScheme = "mxc://"

// ParseMXC accepts mxc://server/mediaID with nothing behind it.
//
// Spec: client-server-api#matrix-content-mxc-uris
func ParseMXC(s string) (MXC, error) {
	rest, ok := strings.CutPrefix(s, mxcScheme)
	if !ok {
		return MXC{}, bad("content URI", errors.New("it does not start with mxc://"))
	}
	server, media, ok := strings.Cut(rest, "/")
	if !ok {
		return MXC{}, bad("content URI", errors.New("it has no media id"))
	}
	return NewMXC(server, media)
}

// NewMXC checks the two parts as they stand in the path of a request.
func NewMXC(server, mediaID string) (MXC, error) {
	name, err := ParseServerName(server)
	if err != nil {
		return MXC{}, err
	}
	switch {
	case mediaID == "":
		return MXC{}, bad("media id", errors.New("it is empty"))
	case len(mediaID) > MaxLength:
		return MXC{}, bad("media id", errTooLong)
	case !urlSafe(mediaID):
		return MXC{}, bad("media id", errors.New("it may contain only A-Z, a-z, 0-9, _ and -"))
	}
	return MXC{Server: name, MediaID: mediaID}, nil
}

// IsZero reports whether there is no content.
func (m MXC) IsZero() bool { return m == MXC{} }

// String returns the URI, or nothing for the zero value.
func (m MXC) String() string {
	if m.IsZero() {
		return ""
	}
	return mxcScheme + string(m.Server) + "/" + m.MediaID
}

// MarshalText gives the URI.
func (m MXC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText parses a URI; an empty text is the zero value.
func (m *MXC) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*m = MXC{}
		return nil
	}
	v, err := ParseMXC(string(text))
	if err == nil {
		*m = v
	}
	return err
}
