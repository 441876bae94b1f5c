package spec

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/hearthd/hearth/internal/id"
)

// schemas compiles the schemas of the digest as they are needed. It is safe for use by several goroutines.
type schemas struct {
	mu       sync.Mutex
	compiler *jsonschema.Compiler
	compiled map[string]*jsonschema.Schema
	named    map[string]json.RawMessage
}

// document is what the schemas' references start from.
const document = "spec:digest.json"

func newSchemas() (*schemas, error) {
	d, err := load()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	all, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	for name, check := range formats {
		c.RegisterFormat(&jsonschema.Format{Name: name, Validate: func(v any) error {
			if s, ok := v.(string); ok {
				return check(s)
			}
			return nil
		}})
	}
	return &schemas{compiler: c, compiled: map[string]*jsonschema.Schema{}, named: d.Schemas}, c.AddResource(document, all)
}

// has tells whether there is a schema of a name.
func (s *schemas) has(name string) bool { return s.named[name] != nil }

// at is the schema at a JSON pointer into the digest.
func (s *schemas) at(pointer string) (*jsonschema.Schema, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found := s.compiled[pointer]; found != nil {
		return found, nil
	}
	schema, err := s.compiler.Compile(document + "#" + pointer)
	if err != nil {
		return nil, fmt.Errorf("compile %s: %w", pointer, err)
	}
	s.compiled[pointer] = schema
	return schema, nil
}

// formats are those of the specification (data/string-formats.yaml) that JSON schema does not know.
var formats = map[string]func(string) error{
	"mx-user-id":     parses(id.ParseUserID),
	"mx-event-id":    parses(id.ParseEventID),
	"mx-room-id":     parses(id.ParseRoomID),
	"mx-room-alias":  parses(id.ParseRoomAlias),
	"mx-server-name": parses(id.ParseServerName),
	"mx-mxc-uri":     parses(id.ParseMXC),
	"mx-unpadded-base64": func(s string) error {
		// Spec: appendices#unpadded-base64. Those who decode are to take it with padding, too.
		_, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(s, "="))
		return err
	},
}

func parses[T any](parse func(string) (T, error)) func(string) error {
	return func(s string) error {
		_, err := parse(s)
		return err
	}
}
