// Package spec knows the operations of the Matrix specification and the schemas of what goes to and fro, and checks bodies against them. It
// is for tests: nothing that serves may import it. What it knows is in digest.json, which its command extract writes from the
// specification's OpenAPI files; the files themselves it never needs.
package spec

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
)

// To write digest.json again, for another version of the specification:
//
//	go run ./internal/spec/extract <checkout of matrix-spec> > internal/spec/digest.json

//go:embed digest.json
var specified []byte

// What is on its way into the specification, in the same form: written by hand, as are the schemas named strict:<operationId>, which say what
// clients need beyond what the schema of a 200 does.
//
//go:embed beyond.json
var beyond []byte

// Operation is one operation of the specification.
type Operation struct {
	API        string `json:"api"`  // the directory of the OpenAPI files: client-server, server-server, ...
	File       string `json:"file"` // the OpenAPI file, without its suffix
	Method     string `json:"method"`
	Path       string `json:"path"` // with variables in braces
	ID         string `json:"id"`   // the operationId
	Deprecated bool   `json:"deprecated,omitempty"`
	// Request is the JSON schema of the request's body, Responses those of the responses by status, which may be a class as 4XX. A schema
	// that is true is of something that is not JSON.
	Request   json.RawMessage            `json:"request,omitempty"`
	Responses map[string]json.RawMessage `json:"responses"`
}

// digest is what is in the files.
type digest struct {
	Operations []Operation                `json:"operations"`
	Schemas    map[string]json.RawMessage `json:"schemas"`
	specified  int                        // how many operations are of the specification
}

var load = sync.OnceValues(func() (digest, error) {
	var d, more digest
	if err := errors.Join(json.Unmarshal(specified, &d), json.Unmarshal(beyond, &more)); err != nil {
		return digest{}, fmt.Errorf("read the digest of the specification: %w", err)
	}
	d.specified = len(d.Operations)
	d.Operations = append(d.Operations, more.Operations...)
	maps.Copy(d.Schemas, more.Schemas)
	return d, nil
})

// Operations returns all operations of the specification, in the order of their APIs and paths.
func Operations() ([]Operation, error) {
	d, err := load()
	return d.Operations[:d.specified], err
}
