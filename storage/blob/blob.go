// Package blob keeps the bytes of media: content-addressed files in a directory. Equal bytes are one file, whoever uploaded them. What a
// blob means, who may see it and whether it is still needed is none of its business; rows in storage say that.
//
// A blob arrives in two steps, so that nothing half-written is ever seen: Stage copies a stream into a temporary file, makes it durable
// and learns its hash; Commit gives it its name. The package refuses names that are not hashes, so nothing from the network becomes part
// of a path. The methods of Dir are what another place for bytes, such as S3, has to offer.
package blob

import (
	"encoding/hex"
	"errors"
	"io"
)

// ErrNotFound says that no blob has this hash.
var ErrNotFound = errors.New("blob: not found")

// ErrTooLarge says that a stream was longer than allowed.
var ErrTooLarge = errors.New("blob: too large")

// Hash names a blob: the SHA-256 of its bytes in lower-case hexadecimal.
type Hash string

// hashLength is the length of a Hash in bytes.
const hashLength = 64

// Valid reports whether h has the form of a hash.
func (h Hash) Valid() bool {
	if len(h) != hashLength {
		return false
	}
	for i := 0; i < len(h); i++ {
		if c := h[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func hashOf(sum []byte) Hash { return Hash(hex.EncodeToString(sum)) }

// Content is what can be done with an open blob.
type Content interface {
	io.ReadSeekCloser
	io.ReaderAt
}

// File is an open blob. Close it. Hand on its Content where bytes go to the network, so that the kernel may move them.
type File struct {
	Content
	Size int64
}
