// Package keyfile keeps the server's signing key in a file: one line "ed25519 <version> <seed in unpadded base64>", the form other
// homeservers use too. It never writes over a key.
package keyfile

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Key is a signing key and its name.
type Key struct {
	// ID is what signatures name the key by, "ed25519:<version>".
	ID      string
	Private ed25519.PrivateKey
	// Exposed says that others on this machine than the owner of the file may read it.
	Exposed bool
}

// maxSize is far above the size of a key file with old keys in it.
const maxSize = 64 << 10

// Spec: server-server-api#publishing-keys: the version consists of letters, digits and underscores.
var version = regexp.MustCompile(`^[a-zA-Z0-9_]{1,64}$`)

// Load reads the first key of the file. A file that does not exist gives an error that is fs.ErrNotExist.
func Load(path string) (Key, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Key{}, fmt.Errorf("read signing key: %w", err)
	}
	if info.Size() > maxSize {
		return Key{}, fmt.Errorf("read signing key: %s is not a key file", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return Key{}, fmt.Errorf("read signing key: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, err := parse(line)
		if err != nil {
			return Key{}, fmt.Errorf("read signing key %s: %w", path, err)
		}
		key.Exposed = info.Mode().Perm()&0o077 != 0
		return key, nil
	}
	return Key{}, fmt.Errorf("read signing key: there is no key in %s", path)
}

// parse reads one line. Its errors never hold parts of the line, which is a secret.
func parse(line string) (Key, error) {
	words := strings.Fields(line)
	if len(words) != 3 || words[0] != "ed25519" {
		return Key{}, errors.New(`want a line "ed25519 <version> <seed>"`)
	}
	if !version.MatchString(words[1]) {
		return Key{}, errors.New("the version may have letters, digits and underscores only")
	}
	seed, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(words[2], "="))
	if err != nil || len(seed) != ed25519.SeedSize {
		return Key{}, errors.New("the seed is not 32 bytes in base64")
	}
	return Key{ID: "ed25519:" + words[1], Private: ed25519.NewKeyFromSeed(seed)}, nil
}

// Create makes a new key and writes it to the file, which must not exist yet (else the error is fs.ErrExist) and only its owner can
// read. The key is on the disk when Create returns.
func Create(path string) (Key, error) {
	seed := make([]byte, ed25519.SeedSize)
	name := make([]byte, 4)
	rand.Read(seed)
	rand.Read(name)
	line := fmt.Sprintf("ed25519 h_%x %s\n", name, base64.RawStdEncoding.EncodeToString(seed))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return Key{}, fmt.Errorf("create signing key: %w", err)
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return Key{}, fmt.Errorf("create signing key: %w", err)
	}
	_, err = file.WriteString(line)
	if err := errors.Join(err, file.Sync(), file.Close(), syncDir(filepath.Dir(path))); err != nil {
		// Half a key would be in the way of the next attempt. Nobody has seen this one.
		return Key{}, fmt.Errorf("create signing key: %w", errors.Join(err, os.Remove(path)))
	}
	return parse(line)
}

// syncDir makes the names in a directory durable.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
