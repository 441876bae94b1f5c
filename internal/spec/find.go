package spec

import (
	"cmp"
	"slices"
	"strings"
)

// pattern is a path with variables, taken apart.
type pattern struct {
	segments  []string // with variables in braces
	variables int
	operation *Operation
}

// finder finds the operations of requests.
type finder map[string][]pattern // by method

func newFinder(operations []Operation) finder {
	out := finder{}
	for i := range operations {
		o := &operations[i]
		p := pattern{segments: strings.Split(o.Path, "/"), operation: o}
		for _, s := range p.segments {
			if variable(s) {
				p.variables++
			}
		}
		out[o.Method] = append(out[o.Method], p)
	}
	for _, patterns := range out {
		slices.SortStableFunc(patterns, func(a, b pattern) int { return cmp.Compare(a.variables, b.variables) })
	}
	return out
}

// find returns the operations of a method and an escaped path. There may be two, where the specification tells them apart by the body.
func (f finder) find(method, path string) []*Operation {
	// The client API was at r0 before v1.1 of the specification.
	for _, api := range []string{"/_matrix/client/", "/_matrix/media/"} {
		if rest, ok := strings.CutPrefix(path, api+"r0/"); ok {
			path = api + "v3/" + rest
		}
	}
	segments := strings.Split(path, "/")
	found := f.match(method, segments)
	if found == nil {
		// Spec: client-server-api#put_matrixclientv3roomsroomidstateeventtypestatekey. The slash before an empty state key is optional.
		found = f.match(method, append(segments, ""))
	}
	return found
}

func (f finder) match(method string, segments []string) []*Operation {
	var found []*Operation
	for _, p := range f[method] {
		if p.fits(segments) && (found == nil || found[0].Path == p.operation.Path) {
			found = append(found, p.operation)
		}
	}
	return found
}

func (p pattern) fits(segments []string) bool {
	return slices.EqualFunc(p.segments, segments, func(want, got string) bool {
		return want == got || variable(want) && (got != "" || want == "{stateKey}")
	})
}

func variable(segment string) bool { return strings.HasPrefix(segment, "{") }
