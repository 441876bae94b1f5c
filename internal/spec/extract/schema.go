package main

import (
	"fmt"
	"path/filepath"
	"strings"
)

// nested says what a keyword of a schema holds.
type nested int

const (
	prose  nested = iota // nothing that is checked: it is left out
	plain                // a value
	one                  // a schema, or a boolean
	list                 // a list of schemas
	byName               // schemas by names
)

// keywords are all that the specification uses. Another one is an error, lest something that ought to be checked be left out.
var keywords = map[string]nested{
	"$schema": prose, "title": prose, "description": prose, "example": prose, "examples": prose, "default": prose, "deprecated": prose,
	"x-addedInMatrixVersion": prose, "x-changedInMatrixVersion": prose, "x-pattern-format": prose, "x-weight": prose,
	"type": plain, "required": plain, "format": plain, "pattern": plain, "enum": plain, "const": plain, "minimum": plain, "maximum": plain,
	"minProperties": plain, "maxProperties": plain, "minItems": plain, "maxItems": plain, "minLength": plain, "maxLength": plain,
	"items": one, "additionalProperties": one, "not": one, "propertyNames": one,
	"allOf": list, "anyOf": list, "oneOf": list,
	"properties": byName, "patternProperties": byName,
}

// schema reduces a schema to what is checked. References become names of other schemas.
func (x *extractor) schema(file string, v any) (any, error) {
	if b, ok := v.(bool); ok {
		return b, nil
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s: %v is no schema", file, v)
	}
	out := map[string]any{}
	for keyword, value := range object {
		var err error
		holds, known := keywords[keyword]
		switch {
		case keyword == "$ref":
			ref, _ := value.(string)
			out[keyword], err = x.refer(target(file, ref))
		case !known:
			err = fmt.Errorf("%s: unknown keyword %s", file, keyword)
		case holds == plain:
			out[keyword] = value
		case holds == one:
			out[keyword], err = x.schema(file, value)
		case holds == list:
			all, _ := value.([]any)
			schemas := make([]any, len(all))
			for i := range all {
				if schemas[i], err = x.schema(file, all[i]); err != nil {
					break
				}
			}
			out[keyword] = schemas
		case holds == byName:
			out[keyword], err = x.schemasOf(file, value)
		}
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (x *extractor) schemasOf(file string, v any) (map[string]any, error) {
	object, _ := v.(map[string]any)
	out := map[string]any{}
	for name, value := range object {
		var err error
		if out[name], err = x.schema(file, value); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// refer gathers the schema at a place in a file, and returns the reference to it in the digest.
func (x *extractor) refer(file, fragment string) (string, error) {
	path, err := filepath.Rel(x.root, file)
	if err != nil {
		return "", err
	}
	name := strings.TrimPrefix(strings.TrimSuffix(path, ".yaml"), "api/") + strings.TrimPrefix(fragment, "/components/schemas")
	name = strings.ReplaceAll(name, "/", ":") // a name is part of a JSON pointer
	ref := "#/schemas/" + name
	if _, ok := x.schemas[name]; ok {
		return ref, nil
	}
	x.schemas[name] = nil // it may refer to itself
	there, err := x.find(file, fragment)
	if err != nil {
		return "", err
	}
	x.schemas[name], err = x.schema(file, there)
	return ref, err
}
