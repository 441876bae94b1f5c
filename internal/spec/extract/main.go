// Command extract writes the digest of the Matrix specification that package spec works with to standard output. Its argument is a checkout
// of https://github.com/matrix-org/matrix-spec.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hearthd/hearth/internal/spec"
)

// apis are those a homeserver answers or calls, with the directories of their OpenAPI files.
var apis = []string{"application-service", "client-server", "identity", "push-gateway", "server-server"}

// loose are schemas that no operation refers to: of EDUs, and of the events that servers make up which are in no room's history.
var loose = []string{
	"api/server-server/definitions/event-schemas/*.yaml",
	"event-schemas/schema/m.fully_read.yaml", "event-schemas/schema/m.presence.yaml", "event-schemas/schema/m.push_rules.yaml",
	"event-schemas/schema/m.receipt.yaml", "event-schemas/schema/m.tag.yaml", "event-schemas/schema/m.typing.yaml",
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: extract <checkout of matrix-spec>")
		os.Exit(2)
	}
	if err := extract(os.Args[1], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func extract(checkout string, to io.Writer) error {
	version, err := exec.Command("git", "-C", checkout, "describe", "--tags").Output()
	if err != nil {
		return fmt.Errorf("which version is it: %w", err)
	}
	x := &extractor{root: filepath.Join(checkout, "data"), files: map[string]any{}, schemas: map[string]any{}}
	var operations []spec.Operation
	for _, api := range apis {
		names, err := filepath.Glob(filepath.Join(x.root, "api", api, "*.yaml"))
		if err != nil {
			return err
		}
		for _, name := range names {
			more, err := x.operations(api, name)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			operations = append(operations, more...)
		}
	}
	if len(operations) == 0 {
		return fmt.Errorf("%s holds no OpenAPI files", checkout)
	}
	for _, pattern := range loose {
		names, err := filepath.Glob(filepath.Join(x.root, pattern))
		if err != nil {
			return err
		}
		if len(names) == 0 {
			return fmt.Errorf("there is no %s", pattern)
		}
		for _, name := range names {
			if _, err := x.refer(name, ""); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	slices.SortFunc(operations, func(a, b spec.Operation) int {
		return slices.Compare([]string{a.API, a.Path, a.Method, a.ID}, []string{b.API, b.Path, b.Method, b.ID})
	})
	return write(to, strings.TrimSpace(string(version)), operations, x.schemas)
}

// write writes one operation or schema to a line, so that the difference between two versions can be read.
func write(to io.Writer, version string, operations []spec.Operation, schemas map[string]any) error {
	out := bufio.NewWriter(to)
	source, err := json.Marshal("github.com/matrix-org/matrix-spec " + version +
		", copyright The Matrix.org Foundation C.I.C. and others, Apache License 2.0; reduced by internal/spec/extract")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "{\"source\":%s,\n\"operations\":[", source)
	for i, o := range operations {
		line, err := json.Marshal(o)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s\n%s", comma(i), line)
	}
	fmt.Fprint(out, "\n],\n\"schemas\":{")
	for i, name := range slices.Sorted(maps.Keys(schemas)) {
		line, err := json.Marshal(schemas[name])
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s\n%q:%s", comma(i), name, line)
	}
	fmt.Fprint(out, "\n}}\n")
	return out.Flush()
}

func comma(i int) string {
	if i == 0 {
		return ""
	}
	return ","
}
