// Command jitter runs tests of this module with goroutines, clocks and transactions that take their time now and then, a moment or
// forty milliseconds. A test that holds only because something else is always quicker fails within a few runs.
//
//	go run ./build/jitter [what go test takes]
//
// Packages whose tests have a time of their own (testing/synctest) are left as they are: there a delay is no delay.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"log"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	module = "github.com/hearthd/hearth"
	// The package of the delay exists only while the tests run. It sleeps because delays are what it is for: nothing waits by them for a condition.
	jitterPath = "internal/jitter"
	jitterFile = `package jitter

import (
	"math/rand/v2"
	"time"
)

func Sleep() {
	switch n := rand.IntN(100); {
	case n < 2:
		time.Sleep(time.Duration(rand.IntN(40)) * time.Millisecond)
	case n < 20:
		time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
	}
}
`
)

// slow is the functions, by package directory and name, that begin and end with a delay, beside all that is begun as a goroutine.
var slow = map[string][]string{
	"internal/clock": {"Now", "NewTimer", "NewTimerAt", "Advance", "Stop"},
	"internal/hub":   {"Watch", "RingCrowd"},
	"storage":        {"View", "Update"},
}

func main() {
	log.SetFlags(0)
	dir, err := os.MkdirTemp("", "jitter")
	if err != nil {
		log.Fatal(err)
	}
	err = run(dir, os.Args[1:])
	os.RemoveAll(dir)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		log.Fatal(err)
	}
}

// run tests with an overlay, whose files are in dir.
func run(dir string, args []string) error {
	overlay, err := write(".", dir)
	if err != nil {
		return err
	}
	test := exec.Command("go", append([]string{"test", "-overlay", overlay, "-vet=off", "-count=1"}, args...)...)
	test.Stdout, test.Stderr = os.Stdout, os.Stderr
	return test.Run()
}

// write puts the files of the module at root that get delays into dir, and the overlay that says so, whose name it returns.
func write(root, dir string) (overlay string, err error) {
	root, err = filepath.Abs(root)
	if err != nil {
		return "", err
	}
	replace := map[string]string{}
	put := func(path string, text []byte) error {
		name := filepath.Join(dir, strconv.Itoa(len(replace))+".go")
		replace[filepath.Join(root, path)] = name
		return os.WriteFile(name, text, 0o600)
	}
	if err := put(filepath.Join(jitterPath, "jitter.go"), []byte(jitterFile)); err != nil {
		return "", err
	}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || ownTime(path)):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		delayed, err := delay(name, text)
		if err != nil || delayed == nil {
			return err
		}
		return put(name, delayed)
	})
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, text, 0o600)
}

// ownTime reports whether the tests of a directory run in a time of their own.
func ownTime(dir string) bool {
	tests, _ := filepath.Glob(filepath.Join(dir, "*_test.go")) // the pattern is a good one
	return slices.ContainsFunc(tests, func(name string) bool {
		text, err := os.ReadFile(name)
		return err == nil && strings.Contains(string(text), `"testing/synctest"`)
	})
}

// delay puts delays into a file, on the lines that there are; nil, if it has no place for one.
func delay(name string, text []byte) ([]byte, error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, text, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	at := map[int]string{}
	begin := func(body *ast.BlockStmt, with string) { at[files.Position(body.Lbrace).Offset+1] = with }
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			if f, ok := n.Call.Fun.(*ast.FuncLit); ok {
				begin(f.Body, "jitter.Sleep();")
			}
		case *ast.CallExpr: // of a sync.WaitGroup
			if s, ok := n.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Go" && len(n.Args) == 1 {
				if f, ok := n.Args[0].(*ast.FuncLit); ok {
					begin(f.Body, "jitter.Sleep();")
				}
			}
		case *ast.FuncDecl:
			if n.Recv != nil && n.Body != nil && slices.Contains(slow[filepath.ToSlash(filepath.Dir(name))], n.Name.Name) {
				begin(n.Body, "jitter.Sleep();defer jitter.Sleep();")
			}
		}
		return true
	})
	if len(at) == 0 {
		return nil, nil
	}
	at[files.Position(file.Name.End()).Offset] = fmt.Sprintf("; import jitter %q", module+"/"+jitterPath)
	var out []byte
	last := 0
	for _, offset := range slices.Sorted(maps.Keys(at)) {
		out = append(append(out, text[last:offset]...), at[offset]...)
		last = offset
	}
	return append(out, text[last:]...), nil
}
