// Package speccoverage compares what a server answers with the operations of the Matrix specification, which package spec knows. It refuses to
// judge: whether an answer is the right one is for other tests.
package speccoverage

import (
	"strings"

	"github.com/hearthd/hearth/internal/spec"
	"github.com/hearthd/hearth/internal/web"
)

// Coverage is what became of each operation, and what there is beyond them.
type Coverage struct {
	Answered, Missing []spec.Operation
	// Beyond are routes of no operation.
	Beyond []web.Route
}

// Compare tells which operations routes answer, of the APIs that a homeserver is asked through. What their variables are called does not matter.
func Compare(operations []spec.Operation, routes []web.Route) Coverage {
	type key struct{ method, shape string }
	answered := map[key]bool{}
	for _, r := range routes {
		answered[key{r.Method, shape(r.Path)}] = true
	}
	specified := map[key]bool{}
	var out Coverage
	for _, o := range operations {
		if o.API != "client-server" && o.API != "server-server" {
			continue
		}
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
