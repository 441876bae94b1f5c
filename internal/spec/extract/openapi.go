package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/hearthd/hearth/internal/spec"
)

// extractor reads the files of the specification and gathers the schemas that are referred to.
type extractor struct {
	root    string
	files   map[string]any // those read, by path
	schemas map[string]any // by name
}

// document is what is of interest in an OpenAPI file.
type document struct {
	Servers []struct {
		Variables map[string]struct {
			Default string `yaml:"default"`
		} `yaml:"variables"`
	} `yaml:"servers"`
	Paths map[string]map[string]operation `yaml:"paths"`
}

type operation struct {
	ID          string         `yaml:"operationId"`
	Deprecated  bool           `yaml:"deprecated"`
	RequestBody any            `yaml:"requestBody"`
	Responses   map[string]any `yaml:"responses"`
}

func (x *extractor) operations(api, name string) ([]spec.Operation, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var d document
	if err := yaml.Unmarshal(text, &d); err != nil {
		return nil, err
	}
	if len(d.Servers) != 1 {
		return nil, fmt.Errorf("%d servers", len(d.Servers))
	}
	var out []spec.Operation
	for path, methods := range d.Paths {
		for method, op := range methods {
			o := spec.Operation{
				API: api, File: strings.TrimSuffix(filepath.Base(name), ".yaml"), Method: strings.ToUpper(method),
				// A path that is there twice is told from the other by a space at its end.
				Path: d.Servers[0].Variables["basePath"].Default + strings.TrimSpace(path), ID: op.ID, Deprecated: op.Deprecated,
				Responses: map[string]json.RawMessage{},
			}
			if op.RequestBody != nil {
				if o.Request, err = x.body(name, op.RequestBody); err != nil {
					return nil, fmt.Errorf("%s: request: %w", op.ID, err)
				}
			}
			for status, response := range op.Responses {
				if o.Responses[status], err = x.body(name, response); err != nil {
					return nil, fmt.Errorf("%s: response %s: %w", op.ID, status, err)
				}
			}
			out = append(out, o)
		}
	}
	return out, nil
}

// body is the schema of a request or response, true where it need not be JSON.
func (x *extractor) body(file string, v any) (json.RawMessage, error) {
	file, object, err := x.follow(file, v)
	if err != nil {
		return nil, err
	}
	content, _ := object["content"].(map[string]any)
	media, ok := content["application/json"].(map[string]any)
	if !ok {
		return json.RawMessage("true"), nil
	}
	schema, err := x.schema(file, media["schema"])
	if err != nil {
		return nil, err
	}
	return json.Marshal(schema)
}

// follow is an object, or what a reference in its place refers to, with the file that is in.
func (x *extractor) follow(file string, v any) (string, map[string]any, error) {
	object, ok := v.(map[string]any)
	if !ok {
		return "", nil, fmt.Errorf("%v is no object", v)
	}
	ref, ok := object["$ref"].(string)
	if !ok {
		return file, object, nil
	}
	file, fragment := target(file, ref)
	there, err := x.find(file, fragment)
	if err != nil {
		return "", nil, err
	}
	return x.follow(file, there)
}

// target is the file of a reference and the place in it.
func target(file, ref string) (string, string) {
	name, fragment, _ := strings.Cut(ref, "#")
	if name != "" {
		file = filepath.Join(filepath.Dir(file), name)
	}
	return file, fragment
}

// find reads a place in a file.
func (x *extractor) find(file, fragment string) (any, error) {
	v, ok := x.files[file]
	if !ok {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if err := yaml.Unmarshal(text, &v); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		x.files[file] = v
	}
	for _, key := range strings.Split(strings.TrimPrefix(fragment, "/"), "/") {
		if key == "" {
			continue
		}
		object, _ := v.(map[string]any)
		if v, ok = object[key]; !ok {
			return nil, fmt.Errorf("%s has no %s", file, fragment)
		}
	}
	return v, nil
}
