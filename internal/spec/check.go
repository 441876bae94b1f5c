package spec

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/tidwall/gjson"
)

// Exchange is a request and the response to it, or one of them.
type Exchange struct {
	Method string
	Path   string // escaped, without the query
	Query  string // as it was sent
	Status int    // 0: it is the request that is checked
	Header http.Header
	Body   []byte
}

// Violation is a place where a body is not what the specification says.
type Violation struct {
	Exchange
	Operation string // the operationId, empty where the path is of none
	At        string // a JSON pointer into the body
	Problem   string
}

// String is a line that says what is wrong, and another with what is there.
func (v Violation) String() string {
	what := "request"
	if v.Status != 0 {
		what = strconv.Itoa(v.Status)
	}
	there := gjson.ParseBytes(v.Body)
	for key := range strings.SplitSeq(strings.TrimPrefix(v.At, "/"), "/") {
		if key != "" {
			there = there.Get(gjson.Escape(strings.NewReplacer("~1", "/", "~0", "~").Replace(key)))
		}
	}
	return fmt.Sprintf("%s %s: %s (%s): at %q: %s\n\t%.600s", v.Method, v.Path, what, v.Operation, v.At, v.Problem, there.Raw)
}

// Checker checks exchanges. It is safe for use by several goroutines.
type Checker struct {
	operations []Operation
	finder     finder
	schemas    *schemas
}

// New returns the checker, which is always the same.
var New = sync.OnceValues(func() (*Checker, error) {
	d, err := load()
	if err != nil {
		return nil, err
	}
	schemas, err := newSchemas()
	return &Checker{d.Operations, newFinder(d.Operations), schemas}, err
})

// Check returns what is wrong, without the exceptions. The error is one of this package or its digest.
func (c *Checker) Check(x Exchange) ([]Violation, error) {
	found, err := c.check(x)
	return slices.DeleteFunc(found, Violation.excepted), err
}

func (c *Checker) check(x Exchange) ([]Violation, error) {
	if x.page() {
		return nil, nil
	}
	operations := c.finder.find(x.Method, x.Path)
	if len(operations) == 0 {
		if x.Status < http.StatusBadRequest || !strings.HasPrefix(x.Path, "/_matrix/") {
			return nil, nil
		}
		return c.against(x, &Operation{}, errorSchema(x))
	}
	var out []Violation
	for _, o := range operations {
		pointer, problem := c.schemaOf(o, x)
		found, err := []Violation{{x, o.ID, "", problem}}, error(nil)
		if problem == "" {
			found, err = c.against(x, o, pointer)
		}
		if err != nil || len(found) == 0 {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

const (
	interactivePointer = "/schemas/client-server:definitions:auth_response"
	errorPointer       = "/schemas/client-server:definitions:errors:error"
	rateLimitedPointer = "/schemas/client-server:definitions:errors:rate_limited"
)

// errorSchema is what an error looks like of which an operation says nothing, or that any operation may answer.
//
// Spec: client-server-api#standard-error-response, client-server-api#user-interactive-api-in-the-rest-api, client-server-api#rate-limiting
func errorSchema(x Exchange) string {
	switch {
	case x.Status == http.StatusTooManyRequests:
		return rateLimitedPointer
	case x.Status == http.StatusUnauthorized && gjson.GetBytes(x.Body, "session").Exists():
		return interactivePointer
	}
	return errorPointer
}

// partial are what HTTP itself has for requests with conditions and ranges.
var partial = []int{http.StatusPartialContent, http.StatusNotModified, http.StatusPreconditionFailed, http.StatusRequestedRangeNotSatisfiable}

// schemaOf is where the schema of an exchange is. It is empty where the body is not JSON.
func (c *Checker) schemaOf(o *Operation, x Exchange) (pointer, problem string) {
	base := "/operations/" + strconv.Itoa(slices.IndexFunc(c.operations, func(p Operation) bool { return p.API == o.API && p.ID == o.ID }))
	if x.Status == 0 {
		if o.Request == nil || string(o.Request) == "true" {
			return "", ""
		}
		return base + "/request", ""
	}
	status := strconv.Itoa(x.Status)
	for _, s := range []string{status, status[:1] + "XX"} {
		schema, ok := o.Responses[s]
		switch {
		case !ok:
			continue
		case x.Status == http.StatusUnauthorized:
			return errorSchema(x), "" // not all of those that ask for authentication list it, and any token may be unknown
		case string(schema) == "true":
			return "", ""
		}
		return base + "/responses/" + s, ""
	}
	switch {
	case string(o.Responses["200"]) == "true" && slices.Contains(partial, x.Status):
		return "", ""
	case x.Status < http.StatusBadRequest:
		return "", "the specification has no such status here"
	}
	return errorSchema(x), ""
}

// against validates a body.
func (c *Checker) against(x Exchange, o *Operation, pointer string) ([]Violation, error) {
	if pointer == "" || x.Method == http.MethodHead {
		return nil, nil
	}
	if x.Status != 0 && x.Header.Get("Content-Type") != "application/json" {
		return []Violation{{x, o.ID, "", fmt.Sprintf("the type is %q", x.Header.Get("Content-Type"))}}, nil
	}
	body, err := jsonschema.UnmarshalJSON(bytes.NewReader(x.Body))
	if err != nil {
		return []Violation{{x, o.ID, "", "not JSON: " + err.Error()}}, nil
	}
	found, err := c.validate(pointer, body)
	if err == nil && len(found) == 0 {
		found, err = c.strict(x, o, body)
	}
	if err != nil {
		return nil, err
	}
	embedded, err := c.embedded(body)
	if err != nil {
		return nil, err
	}
	var out []Violation
	for _, p := range append(found, embedded...) {
		out = append(out, Violation{x, o.ID, p.at, p.what})
	}
	return out, nil
}

// problem is something wrong at a place in a body.
type problem struct{ at, what string }

// validate returns what a schema has against a value.
func (c *Checker) validate(pointer string, v any) ([]problem, error) {
	schema, err := c.schemas.at(pointer)
	if err != nil {
		return nil, err
	}
	var invalid *jsonschema.ValidationError
	if err := schema.Validate(v); errors.As(err, &invalid) {
		return leaves(invalid, nil), nil
	} else if err != nil {
		return nil, err
	}
	return nil, nil
}

// leaves are the errors that others come from, each once.
func leaves(e *jsonschema.ValidationError, out []problem) []problem {
	if len(e.Causes) == 0 {
		p := problem{pointerTo(e.InstanceLocation), e.ErrorKind.LocalizedString(printer)}
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	for _, cause := range e.Causes {
		out = leaves(cause, out)
	}
	return out
}
