package mediaapi

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/mediaapi/thumbnail"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/blob"
	"github.com/hearthd/hearth/storage/storagetest"
)

// crashDir names the directory in which a child process of TestAcknowledgedUploadsSurviveSIGKILL uploads until it is killed.
const crashDir = "HEARTH_TEST_MEDIA_CRASH_DIR"

func openAt(t *testing.T, dir string) (*Service, *web.Server) {
	t.Helper()
	blobs, err := blob.OpenDir(filepath.Join(dir, "media"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Parts{
		Server: "hs1", Store: storagetest.Reopen(t, storage.Config{Path: filepath.Join(dir, "hearth.db")}), Blobs: blobs, Hub: hub.New(0),
		Clock: clock.Real(), Config: config.Default().Media, Thumbnails: thumbnail.New(thumbnail.Limits{}, 1),
	})
	if err != nil {
		t.Fatal(err)
	}
	handler, err := web.New(web.Options{Auth: tokenIsName{}}, s.Routes())
	if err != nil {
		t.Fatal(err)
	}
	return s, handler
}

// crashText is what the file of a name contains.
func crashText(name string) string { return strings.Repeat(name+" ", 1+100*len(name)) }

// uploadUntilKilled prints every URI once its upload was acknowledged.
func uploadUntilKilled(t *testing.T, dir string) {
	_, handler := openAt(t, dir)
	for worker := range 4 {
		go func() {
			for n := 0; ; n++ {
				name := fmt.Sprintf("%d-%d", worker, n)
				req := httptest.NewRequest("POST", "/_matrix/media/v3/upload?filename="+name, strings.NewReader(crashText(name)))
				req.Header.Set("Authorization", "Bearer alice")
				rec := httptest.NewRecorder()
				handler.ServeHTTP(rec, req)
				if rec.Code == 200 {
					// One write, so that lines do not mix.
					fmt.Fprintf(os.Stdout, "acknowledged %s %s\n", name, strings.TrimSpace(rec.Body.String()))
				}
			}
		}()
	}
	select {}
}

func TestAcknowledgedUploadsSurviveSIGKILL(t *testing.T) {
	if dir := os.Getenv(crashDir); dir != "" {
		uploadUntilKilled(t, dir)
	}
	dir := t.TempDir()
	acknowledged := map[id.MXC]string{}
	for round := range 5 {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAcknowledgedUploadsSurviveSIGKILL$")
		child.Env = append(os.Environ(), crashDir+"="+dir)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; n < 20+7*round && lines.Scan(); {
			name, uri, ok := strings.Cut(strings.TrimPrefix(lines.Text(), "acknowledged "), ` {"content_uri":"`)
			mxc, err := id.ParseMXC(strings.TrimSuffix(uri, `"}`))
			if !ok || err != nil {
				continue
			}
			acknowledged[mxc] = name
			n++
		}
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, out)
		if err := child.Wait(); err == nil {
			t.Fatal("the child ended by itself")
		}
	}
	if len(acknowledged) < 100 {
		t.Fatalf("only %d uploads were acknowledged", len(acknowledged))
	}
	s, _ := openAt(t, dir)
	for mxc, name := range acknowledged {
		m, err := s.Info(context.Background(), mxc)
		if err != nil {
			t.Errorf("%s: %v", mxc, err)
			continue
		}
		data, err := s.blobs.Read(blobHash(m), m.Size)
		if err != nil || string(data) != crashText(name) || m.Filename != name {
			t.Errorf("%s (%s): %d bytes, error %v", mxc, name, len(data), err)
		}
	}
}
