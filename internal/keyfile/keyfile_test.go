package keyfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestACreatedKeyCanBeLoadedAndIsNeverOverwritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "signing.key")
	if _, err := Load(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load of a missing file = %v", err)
	}
	created, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(created, loaded); diff != "" {
		t.Errorf("(-created +loaded):\n%s", diff)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file can be read by others: %v, %v", info.Mode(), err)
	}
	if _, err := Create(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Create over a key = %v", err)
	}
}

func TestAKeyThatOthersCanReadIsNoticed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "signing.key")
	if key, err := Create(path); err != nil || key.Exposed {
		t.Errorf("a new key: exposed %t, %v", key.Exposed, err)
	}
	for mode, exposed := range map[os.FileMode]bool{0o600: false, 0o400: false, 0o640: true, 0o604: true} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if key, err := Load(path); err != nil || key.Exposed != exposed {
			t.Errorf("with mode %o: exposed %t, %v", mode, key.Exposed, err)
		}
	}
}

func TestLoad(t *testing.T) {
	const seed = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	tests := []struct {
		name, text, id string
	}{
		{"a line", "ed25519 a_1 " + seed + "\n", "ed25519:a_1"},
		{"the first of several, after a comment", "# mine\n\ned25519 new " + seed + "\ned25519 old " + seed, "ed25519:new"},
		{"padded base64", "ed25519 a " + seed + "=", "ed25519:a"},
		{"an empty file is refused", "", ""},
		{"another algorithm is refused", "rsa a " + seed, ""},
		{"a version with other characters is refused", "ed25519 a:b " + seed, ""},
		{"a short seed is refused", "ed25519 a AAAA", ""},
		{"a word too many is refused", "ed25519 a " + seed + " x", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			key, err := Load(path)
			if key.ID != test.id || (err == nil) != (test.id != "") {
				t.Errorf("Load = %q, %v; want %q", key.ID, err, test.id)
			}
			if err != nil && strings.Contains(err.Error(), "AAAA") {
				t.Errorf("the error shows the key: %v", err)
			}
		})
	}
}
