// Package speccoverage compares what a server answers with the operations of the Matrix specification. Which there are it knows from
// operations.tsv, a digest of the specification's OpenAPI files that its command extract writes; the files themselves it never needs.
// It refuses to judge: whether an answer is the right one is for other tests.
package speccoverage

import (
	_ "embed"
	"fmt"
	"strings"

	"github.com/hearthd/hearth/internal/web"
)

// To write operations.tsv again, for another version of the specification:
//
//	go run ./internal/speccoverage/extract <checkout of matrix-spec> > internal/speccoverage/operations.tsv

//go:embed operations.tsv
var digest string

// Operation is one operation of the specification.
type Operation struct {
	API        string // the directory of the OpenAPI files: client-server, server-server
	File       string // the OpenAPI file, without its suffix
	Method     string
	Path       string // with variables in braces
	ID         string // the operationId
	Deprecated bool
}

// String is a line of the digest.
func (o Operation) String() string {
	deprecated := ""
	if o.Deprecated {
		deprecated = "deprecated"
	}
	return strings.Join([]string{o.API, o.File, o.Method, o.Path, o.ID, deprecated}, "\t")
}

// Operations returns the operations a homeserver answers, in the order of the digest.
func Operations() ([]Operation, error) {
	var out []Operation
	for line := range strings.Lines(digest) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(fields) != 6 {
			return nil, fmt.Errorf("operation %q has %d fields", line, len(fields))
		}
		out = append(out, Operation{fields[0], fields[1], fields[2], fields[3], fields[4], fields[5] == "deprecated"})
	}
	return out, nil
}

// Coverage is what became of each operation, and what there is beyond them.
type Coverage struct {
	Answered, Missing []Operation
	// Beyond are routes of no operation.
	Beyond []web.Route
}

// Compare tells which operations routes answer. What their variables are called does not matter.
func Compare(operations []Operation, routes []web.Route) Coverage {
	type key struct{ method, shape string }
	answered := map[key]bool{}
	for _, r := range routes {
		answered[key{r.Method, shape(r.Path)}] = true
	}
	specified := map[key]bool{}
	var out Coverage
	for _, o := range operations {
		k := key{o.Method, shape(o.Path)}
		specified[k] = true
		if answered[k] {
			out.Answered = append(out.Answered, o)
		} else {
			out.Missing = append(out.Missing, o)
		}
	}
	for _, r := range routes {
		if !specified[key{r.Method, shape(r.Path)}] {
			out.Beyond = append(out.Beyond, r)
		}
	}
	return out
}

// shape is a path without the names of its variables.
func shape(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if strings.HasPrefix(s, "{") {
			segments[i] = "{}"
		}
	}
	return strings.Join(segments, "/")
}
