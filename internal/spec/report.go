package spec

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// Responses watches what a homeserver answers. What is wrong becomes an error of the test when that ends.
func Responses(t testing.TB) Watcher { return Watcher{Report: reports(t), Responses: everything} }

// Requests watches what homeservers ask of something else that the test stands for, as Responses does.
func Requests(t testing.TB) Watcher { return Watcher{Report: reports(t), Requests: everything} }

func everything(*http.Request) bool { return true }

// reports gathers what is wrong, each thing once: a test must not be told after its end.
func reports(t testing.TB) func(fmt.Stringer) {
	var mu sync.Mutex
	var texts []string
	seen := map[string]bool{}
	t.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		for _, text := range texts {
			t.Errorf("not as the specification has it: %s", text)
		}
	})
	return func(found fmt.Stringer) {
		mu.Lock()
		defer mu.Unlock()
		text := found.String()
		line, _, _ := strings.Cut(text, "\n")
		if !seen[line] {
			seen[line] = true
			texts = append(texts, text)
		}
	}
}
