package web

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/gorilla/mux"

	"github.com/hearthd/hearth/internal/merr"
)

// Route is one row of a table. It has exactly these fields, so that tables can be written by position. Path is a template whose variables
// stand for one whole segment each: /rooms/{roomID}/state/{eventType}/ and the same without the last slash are two routes. A route for
// GET answers HEAD too. Limits of the body are the handler's: see BodyLimit.
type Route struct {
	Method  string
	Path    string
	Auth    Auth
	Rate    Rate
	Handler Handler
}

// endpoint is a route at work.
type endpoint struct {
	Route
	label string // for metrics and the log
}

// node is a path with its methods.
type node struct {
	path     string
	segments []string // "" is a variable
	methods  map[string]*endpoint
	allow    string
}

// bucketDepth is the number of leading segments, as in /_matrix/client/v3/rooms, by which paths are dispatched.
const bucketDepth = 4

type table struct {
	nodes   []*node // most specific first
	buckets map[bucketKey]*bucket
}

// bucket is a router for paths that begin with the same segments and have equally many. The routers of mux try one route after the
// other: 300 of them in one row would cost more than all the rest of a request. It is built with the first request for it: what mux makes of
// all routes is 5 MiB, more than half of what a small server has in use, and most routes of most servers are never asked for.
type bucket struct {
	once   sync.Once
	routes *mux.Router
	nodes  []*node
}

type bucketKey struct {
	prefix  string // empty for paths that are short or have a variable among the leading segments
	slashes int
}

func newTable(groups [][]Route) (*table, error) {
	byPath := map[string]*node{}
	var problems []error
	for _, route := range slices.Concat(groups...) {
		if err := route.check(); err != nil {
			problems = append(problems, fmt.Errorf("route %s %s: %w", route.Method, route.Path, err))
			continue
		}
		n := byPath[route.Path]
		if n == nil {
			n = &node{path: route.Path, segments: templateSegments(route.Path), methods: map[string]*endpoint{}}
			byPath[route.Path] = n
		}
		if n.methods[route.Method] != nil {
			problems = append(problems, fmt.Errorf("route %s %s: is there twice", route.Method, route.Path))
			continue
		}
		n.methods[route.Method] = &endpoint{Route: route, label: route.Method + " " + route.Path}
	}
	t := &table{buckets: map[bucketKey]*bucket{}}
	for _, n := range byPath {
		n.close()
		t.nodes = append(t.nodes, n)
	}
	slices.SortFunc(t.nodes, moreSpecific)
	for i, n := range t.nodes {
		if i > 0 && slices.Equal(n.segments, t.nodes[i-1].segments) {
			problems = append(problems, fmt.Errorf("routes %s and %s: differ only in the names of variables", t.nodes[i-1].path, n.path))
		}
		t.add(n)
	}
	return t, errors.Join(problems...)
}

func (r Route) check() error {
	switch {
	case r.Method == "" || r.Method == http.MethodOptions:
		return errors.New("the method is missing, or OPTIONS, which is answered for all paths")
	case !strings.HasPrefix(r.Path, "/"):
		return errors.New("the path does not start with a slash")
	case r.Handler == nil:
		return errors.New("there is no handler")
	case r.Auth.level() == 0:
		return errors.New("it does not say who may use it")
	case r.Rate >= numRates:
		return errors.New("the rate class does not exist")
	}
	for segment := range strings.SplitSeq(r.Path, "/") {
		name, variable := strings.CutPrefix(segment, "{")
		if variable {
			name = strings.TrimSuffix(name, "}")
		}
		if strings.ContainsAny(name, "{}:*?#%") || variable && (name == "" || len(segment) != len(name)+2) {
			return fmt.Errorf("a variable must be a whole segment without a pattern, not %s", segment)
		}
	}
	return nil
}

// templateSegments takes a path apart. The empty text before the first slash is left out; one after a last slash is there, as "/".
func templateSegments(path string) []string {
	out := strings.Split(path[1:], "/")
	for i, s := range out {
		switch {
		case s == "":
			out[i] = "/"
		case s[0] == '{':
			out[i] = ""
		}
	}
	return out
}

// moreSpecific orders a literal before a variable at the first segment that differs.
func moreSpecific(a, b *node) int {
	for i := range min(len(a.segments), len(b.segments)) {
		x, y := a.segments[i], b.segments[i]
		switch {
		case x == y:
		case x == "":
			return 1
		case y == "":
			return -1
		default:
			return strings.Compare(x, y)
		}
	}
	return len(a.segments) - len(b.segments)
}

// close completes the methods: HEAD goes where GET goes.
func (n *node) close() {
	if get := n.methods[http.MethodGet]; get != nil && n.methods[http.MethodHead] == nil {
		n.methods[http.MethodHead] = get
	}
	names := []string{http.MethodOptions}
	for m := range n.methods {
		names = append(names, m)
	}
	slices.Sort(names)
	n.allow = strings.Join(names, ", ")
}

func (t *table) add(n *node) {
	key := keyOf(n.path)
	if slices.Contains(n.segments[:min(len(n.segments), bucketDepth)], "") {
		key.prefix = ""
	}
	b := t.buckets[key]
	if b == nil {
		b = &bucket{}
		t.buckets[key] = b
	}
	b.nodes = append(b.nodes, n)
}

// router is what mux makes of the bucket's paths.
func (b *bucket) router() *mux.Router {
	b.once.Do(func() {
		// Ids hold escaped slashes: without these two mux would unescape or redirect them.
		b.routes = mux.NewRouter().UseEncodedPath().SkipClean(true)
		for _, n := range b.nodes {
			// The function in front spares most routes their regular expression, and leaves a path of several templates to the one that has
			// the method.
			b.routes.NewRoute().MatcherFunc(func(r *http.Request, _ *mux.RouteMatch) bool {
				return n.methods[r.Method] != nil && n.covers(requestPath(r))
			}).Path(n.path).Handler(n)
		}
	})
	return b.routes
}

// ServeHTTP makes a node fit into a router of mux, which is asked for its match alone.
func (n *node) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "Internal server error", http.StatusInternalServerError)
}

// match finds the endpoint for a request and the variables of its path, still escaped. Without one, the error is the 404 or 405 to give.
func (t *table) match(r *http.Request) (*endpoint, map[string]string, error) {
	path := requestPath(r)
	key := keyOf(path)
	candidates := [...]*bucket{t.buckets[key], t.buckets[bucketKey{"", key.slashes}]}
	for _, b := range candidates {
		var m mux.RouteMatch
		if b != nil && b.router().Match(r, &m) {
			if n, ok := m.Handler.(*node); ok {
				return n.methods[r.Method], m.Vars, nil
			}
		}
	}
	for _, b := range candidates {
		if b == nil {
			continue
		}
		for _, n := range b.nodes {
			if n.covers(path) {
				return nil, nil, &wrongMethod{allow: n.allow}
			}
		}
	}
	// Spec: client-server-api#api-standards (M_UNRECOGNIZED for unknown endpoints)
	return nil, nil, merr.New(merr.Unrecognized, "Unrecognized request")
}

// wrongMethod is the answer to a known path with another method.
type wrongMethod struct{ allow string }

func (e *wrongMethod) Error() string { return "method not allowed" }

// Unwrap gives the error that the client gets.
func (e *wrongMethod) Unwrap() error {
	return merr.New(merr.Unrecognized, "Unrecognized method for this endpoint").WithStatus(http.StatusMethodNotAllowed)
}

func allowed(err error) string {
	var w *wrongMethod
	if errors.As(err, &w) {
		return w.allow
	}
	return ""
}

func (t *table) routes() []Route {
	var out []Route
	for _, n := range t.nodes {
		for method, e := range n.methods {
			if method == e.Method { // not the HEAD of a GET
				out = append(out, e.Route)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Route) int {
		if a.Path == b.Path {
			return strings.Compare(a.Method, b.Method)
		}
		return 0
	})
	return out
}

// requestPath is the path with its slashes where the client put them. Go keeps the escaped form only where it matters.
func requestPath(r *http.Request) string {
	if r.URL.RawPath != "" {
		return r.URL.EscapedPath() // what mux matches; RawPath itself, unless it is no valid escaping of the path
	}
	return r.URL.Path
}

// keyOf returns the bucket of a path whose leading segments are what they look like.
func keyOf(path string) bucketKey {
	key := bucketKey{slashes: strings.Count(path, "/")}
	end := 0
	for range bucketDepth {
		if end >= len(path) {
			return key
		}
		next := strings.IndexByte(path[end+1:], '/')
		if next < 0 {
			end = len(path)
		} else {
			end += 1 + next
		}
	}
	key.prefix = path[:end]
	return key
}

// covers reports whether the path of a request has the form of the node.
func (n *node) covers(path string) bool {
	for i, want := range n.segments {
		if path == "" || path[0] != '/' {
			return false
		}
		path = path[1:]
		end := strings.IndexByte(path, '/')
		if end < 0 {
			end = len(path)
		}
		got := path[:end]
		path = path[end:]
		switch want {
		case "":
			if got == "" {
				return false
			}
		case "/":
			if got != "" || i != len(n.segments)-1 {
				return false
			}
		default:
			if got != want {
				return false
			}
		}
	}
	return path == ""
}
