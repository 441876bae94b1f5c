package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const before = `package hub

import "sync"

func (h *Hub) Watch() { go func() { h.wake() }() }

func (h *Hub) wake() { var g sync.WaitGroup; g.Go(func() {}) }
`

const after = `package hub; import jitter "github.com/hearthd/hearth/internal/jitter"

import "sync"

func (h *Hub) Watch() {jitter.Sleep();defer jitter.Sleep(); go func() {jitter.Sleep(); h.wake() }() }

func (h *Hub) wake() { var g sync.WaitGroup; g.Go(func() {jitter.Sleep();}) }
`

func TestDelaysArePutWhereOthersMayBeQuicker(t *testing.T) {
	root, out := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{
		"internal/hub/hub.go":        before,
		"internal/none/none.go":      "package none\n\nfunc none() {}\n",
		"internal/own/own.go":        before,
		"internal/own/own_test.go":   `package own; import "testing/synctest"`,
		"internal/hub/testdata/x.go": "no Go",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	overlay, err := write(root, out)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(overlay)
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Replace map[string]string }
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Replace) != 2 {
		t.Errorf("replaced: %v", got.Replace)
	}
	for name, want := range map[string]string{"internal/hub/hub.go": after, "internal/jitter/jitter.go": jitterFile} {
		text, err := os.ReadFile(got.Replace[filepath.Join(root, name)])
		if err != nil || string(text) != want {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
	if _, err := delay("x.go", []byte("no Go")); err == nil || !strings.Contains(err.Error(), "x.go") {
		t.Errorf("of what cannot be read: %v", err)
	}
}
