package fedclient

import (
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"github.com/hearthd/hearth/internal/safehttp"
)

func TestAuthoritiesOfAFileAreTrusted(t *testing.T) {
	w := newWorld(t)
	w.peer(peerName, "10.0.0.1")
	dir := t.TempDir()
	write := func(name string, text []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.ca.Raw}))
	for _, tt := range []struct {
		name, file     string
		loads, reaches bool
	}{
		{"no file", "", true, false},
		{"a file", good, true, true},
		{"a file that is not there", filepath.Join(dir, "nothing"), false, false},
		{"a file without certificates", write("empty.pem", []byte("hello")), false, false},
	} {
		trusted, err := safehttp.ReadAuthorities(tt.file)
		if (err == nil) != tt.loads {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err != nil {
			continue
		}
		_, err = w.client(func(o *Options) { o.Authorities = trusted }).Version(t.Context(), peerName)
		if (err == nil) != tt.reaches {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
