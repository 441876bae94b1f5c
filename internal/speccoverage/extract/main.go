// Command extract writes the operations of the Matrix specification that a homeserver answers, one line each, to standard output. Its
// argument is a checkout of https://github.com/matrix-org/matrix-spec.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/hearthd/hearth/internal/speccoverage"
)

// apis are those a homeserver answers.
var apis = []string{"client-server", "server-server"}

// file is what is of interest in an OpenAPI file.
type file struct {
	Servers []struct {
		Variables map[string]struct {
			Default string `yaml:"default"`
		} `yaml:"variables"`
	} `yaml:"servers"`
	Paths map[string]map[string]struct {
		ID         string `yaml:"operationId"`
		Deprecated bool   `yaml:"deprecated"`
	} `yaml:"paths"`
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: extract <checkout of matrix-spec>")
		os.Exit(2)
	}
	if err := extract(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func extract(checkout string) error {
	var operations []speccoverage.Operation
	for _, api := range apis {
		names, err := filepath.Glob(filepath.Join(checkout, "data/api", api, "*.yaml"))
		if err != nil {
			return err
		}
		for _, name := range names {
			more, err := read(api, name)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			operations = append(operations, more...)
		}
	}
	if len(operations) == 0 {
		return fmt.Errorf("%s holds no OpenAPI files", checkout)
	}
	slices.SortFunc(operations, func(a, b speccoverage.Operation) int {
		return slices.Compare([]string{a.API, a.Path, a.Method, a.ID}, []string{b.API, b.Path, b.Method, b.ID})
	})
	for _, o := range operations {
		fmt.Println(o)
	}
	return nil
}

func read(api, name string) ([]speccoverage.Operation, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var f file
	if err := yaml.Unmarshal(text, &f); err != nil {
		return nil, err
	}
	var out []speccoverage.Operation
	for path, methods := range f.Paths {
		for method, operation := range methods {
			if len(f.Servers) != 1 {
				return nil, fmt.Errorf("%d servers", len(f.Servers))
			}
			out = append(out, speccoverage.Operation{
				API: api, File: strings.TrimSuffix(filepath.Base(name), ".yaml"), Method: strings.ToUpper(method),
				// A path that is there twice is told from the other by a space at its end.
				Path: f.Servers[0].Variables["basePath"].Default + strings.TrimSpace(path), ID: operation.ID, Deprecated: operation.Deprecated,
			})
		}
	}
	return out, nil
}
