package tests

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/hearthtest"
	"github.com/hearthd/hearth/internal/spec"
	"github.com/hearthd/hearth/internal/speccoverage"
)

//go:generate go test -run TestSpecCoverage -update

var update = flag.Bool("update", false, "write docs/spec-coverage.md")

const coveragePage = "../docs/spec-coverage.md"

func TestSpecCoverage(t *testing.T) {
	t.Parallel()
	operations, err := spec.Operations()
	if err != nil {
		t.Fatal(err)
	}
	a := hearthtest.Start(t)
	coverage := speccoverage.Compare(operations, a.Routes())
	t.Run("the page is fresh", func(t *testing.T) {
		if *update {
			if err := os.WriteFile(coveragePage, []byte(coverage.Page()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		page, err := os.ReadFile(coveragePage)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(page), coverage.Page()); d != "" {
			t.Errorf("docs/spec-coverage.md is stale (go generate ./tests):\n%s", d)
		}
	})
	t.Run("what is missing is answered with M_UNRECOGNIZED", func(t *testing.T) {
		alice := a.User("alice").With(t)
		for _, o := range coverage.Missing {
			path := strings.NewReplacer("{", "", "}", "").Replace(o.Path)
			// Spec: client-server-api#api-standards. 405 is for a path that is there with another method.
			if r := alice.Do(o.Method, path, nil); !r.Refused(404, "M_UNRECOGNIZED") && !r.Refused(405, "M_UNRECOGNIZED") {
				t.Errorf("%s %s: %d %s", o.Method, path, r.Status, r.Body)
			}
		}
	})
}
