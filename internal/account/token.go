package account

import (
	"crypto/rand"
	"crypto/sha256"
	"hash/crc32"
	"strconv"
	"strings"

	"github.com/hearthd/hearth/storage"
)

// Prefixes tell tokens apart, for people who find one in a log and for scanners of leaked secrets.
const (
	accessPrefix  = "hrt"
	refreshPrefix = "hrr"
	loginPrefix   = "hrl"
	openIDPrefix  = "hro"
)

// newToken makes a secret of 130 random bits, prefix_random_checksum.
func newToken(prefix string) string {
	body := prefix + "_" + rand.Text()
	return body + "_" + checksum(body)
}

// checksum is the CRC-32 in seven digits of base 36. It is no protection, it spares the database the garbage.
func checksum(body string) string {
	sum := strconv.FormatUint(uint64(crc32.ChecksumIEEE([]byte(body))), 36)
	return strings.Repeat("0", 7-len(sum)) + sum
}

// looksLike reports whether this server could have made such a token.
func looksLike(prefix, token string) bool {
	cut := strings.LastIndexByte(token, '_')
	return cut > len(prefix) && strings.HasPrefix(token, prefix+"_") && checksum(token[:cut]) == token[cut+1:]
}

func hashToken(token string) storage.TokenHash { return sha256.Sum256([]byte(token)) }

// newDeviceID makes a name for a device whose client did not choose one.
func newDeviceID() string { return rand.Text()[:10] }
