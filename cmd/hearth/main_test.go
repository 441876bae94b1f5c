package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestMain lets the test binary be hearth: tests of exit codes and signals run it again as a child.
func TestMain(m *testing.M) {
	if os.Getenv("HEARTH_TEST_MAIN") == "1" {
		main()
	}
	os.Exit(m.Run())
}

// hearth prepares a child that runs in dir, with nothing of the caller's configuration.
func hearth(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Dir = dir
	cmd.Env = []string{"HEARTH_TEST_MAIN=1", "PATH=" + os.Getenv("PATH"), "HOME=" + dir}
	return cmd
}

// result runs a child to its end.
func result(t *testing.T, cmd *exec.Cmd) (code int, stdout, stderr string) {
	t.Helper()
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), problems.String()
}

func TestExitCodes(t *testing.T) {
	tests := []struct {
		name   string
		args   []string
		env    []string
		files  map[string]string
		code   int
		stdout string // its beginning
		stderr string // all of it
	}{
		{name: "version is printed", args: []string{"version"}, stdout: "hearth 0."},
		{name: "help is no mistake", args: []string{"help"}, stdout: "Hearth is a Matrix homeserver."},
		{name: "nor is --help", args: []string{"serve", "--help"}, stdout: "Hearth is a Matrix homeserver."},
		{
			name: "an unknown command", args: []string{"sevre"}, code: exitUsage,
			stderr: "hearth: there is no command \"sevre\"; see hearth help\n",
		},
		{
			name: "half a command", args: []string{"user"}, code: exitUsage,
			stderr: "hearth: user needs one of create, reset-password, deactivate and list; see hearth help\n",
		},
		{
			name: "half of another", args: []string{"push"}, code: exitUsage,
			stderr: "hearth: push needs test; see hearth help\n",
		},
		{
			name: "a check of what is no server", args: []string{"federation", "check", "https://a.example"}, code: exitUsage,
			stderr: "hearth: \"https://a.example\" is not a server name like example.org\n",
		},
		{
			name: "a check of a server that may not be connected to", args: []string{"federation", "check", "127.0.0.1"}, code: exitFailure,
			stdout: "  127.0.0.1 says itself where it is", stderr: "hearth: there is a problem with 127.0.0.1: the line marked ! says which\n",
		},
		{
			name: "an unknown flag", args: []string{"serve", "--media.frees"}, code: exitUsage,
			stderr: "hearth: serve: unknown flag: --media.frees\n",
		},
		{
			name: "a flag of another command", args: []string{"serve", "--erase"}, code: exitUsage,
			stderr: "hearth: serve: unknown flag: --erase\n",
		},
		{
			name: "an argument too many", args: []string{"serve", "now"}, code: exitUsage,
			stderr: "hearth: serve takes no arguments, got \"now\"\n",
		},
		{
			name: "an argument too few", args: []string{"user", "create"}, code: exitUsage,
			stderr: "hearth: usage: hearth user create NAME\n",
		},
		{
			name: "no configuration is a good one", args: []string{"check-config"},
			stdout: "the default configuration is good: localhost, ",
		},
		{
			name: "hearth.yaml is found", args: []string{"check-config"}, files: map[string]string{"hearth.yaml": "server: {name: a.example}"},
			stdout: "hearth.yaml is good: a.example, ",
		},
		{
			name: "HEARTH_CONFIG is preferred to it", args: []string{"check-config"}, env: []string{"HEARTH_CONFIG=b.yaml"},
			files:  map[string]string{"hearth.yaml": "server: {name: a.example}", "b.yaml": "server: {name: b.example}"},
			stdout: "b.yaml is good: b.example, ",
		},
		{
			name: "registrations of application services are read too", args: []string{"check-config"}, code: exitFailure,
			files:  map[string]string{"hearth.yaml": "{server: {data_dir: .}, appservices: [irc.yaml]}", "irc.yaml": "{id: a, as_token: a, hs_token: b, sender_localpart: a}"},
			stderr: "hearth: registration of an application service irc.yaml: namespaces is missing\n",
		},
		{
			name: "--config is preferred to that", args: []string{"check-config", "--config", "c.yaml"}, env: []string{"HEARTH_CONFIG=b.yaml"},
			files:  map[string]string{"c.yaml": "server: {name: c.example}"},
			stdout: "c.yaml is good: c.example, ",
		},
		{
			name: "a named file must exist", args: []string{"check-config", "--config=c.yaml"}, code: exitUsage,
			stderr: "hearth: there is no file c.yaml\n",
		},
		{
			name: "serve refuses a bad configuration, one line for each problem", args: []string{"--log.level=loud"}, code: exitUsage,
			files:  map[string]string{"hearth.yaml": "media: {freez: true}"},
			stderr: "hearth: media.freez: unknown key\nhearth: log.level: \"loud\" is none of debug, info, warn, error\n",
		},
		{
			name: "init writes only what it says", args: []string{"init", "--registration.mode=open"}, code: exitUsage,
			stderr: "hearth: init does not write registration.mode into the file; add it there afterwards\n",
		},
		{
			name: "init leaves a file alone", args: []string{"init"}, code: exitUsage, files: map[string]string{"hearth.yaml": ""},
			stderr: "hearth: hearth.yaml exists already; it is left as it is (--if-missing accepts that)\n",
		},
		{
			name: "init makes no new key for an old database", args: []string{"init"}, code: exitFailure,
			files:  map[string]string{"data/hearth.db": ""},
			stdout: "Wrote hearth.yaml",
			stderr: "hearth: there is a database but no signing key at data/signing.key: restore the key from a backup\n",
		},
		{
			name: "a password is needed", args: []string{"user", "create", "ann", "--password-stdin"}, code: exitUsage,
			stderr: "hearth: there is no password on standard input\n",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			writeAll(t, dir, test.files)
			cmd := hearth(t, dir, test.args...)
			cmd.Env = append(cmd.Env, test.env...)
			code, stdout, stderr := result(t, cmd)
			if code != test.code || !strings.HasPrefix(stdout, test.stdout) {
				t.Errorf("exit code %d, stdout %q; want %d and %q", code, stdout, test.code, test.stdout)
			}
			if diff := cmp.Diff(test.stderr, stderr); diff != "" {
				t.Errorf("stderr (-want +got):\n%s", diff)
			}
		})
	}
}

func writeAll(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestInitWritesAConfigurationThatLoadsAndAKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	code, stdout, stderr := result(t, hearth(t, dir, "init", "--server.name=example.org", "--server.data_dir=store"))
	if code != exitOK || stdout != "Wrote hearth.yaml, for the server name example.org.\nMade a signing key, store/signing.key.\n" {
		t.Fatalf("init: %d %q %q", code, stdout, stderr)
	}
	key, err := os.ReadFile(filepath.Join(dir, "store/signing.key"))
	if err != nil {
		t.Fatal(err)
	}
	code, stdout, _ = result(t, hearth(t, dir, "check-config"))
	if want := "hearth.yaml is good: example.org, listening on localhost:8008, data in store\n"; code != exitOK || stdout != want {
		t.Errorf("check-config: %d %q, want %q", code, stdout, want)
	}
	code, stdout, _ = result(t, hearth(t, dir, "init", "--if-missing"))
	if code != exitOK || stdout != "" {
		t.Errorf("init --if-missing: %d %q", code, stdout)
	}
	if again, err := os.ReadFile(filepath.Join(dir, "store/signing.key")); err != nil || !bytes.Equal(key, again) {
		t.Errorf("the key is another one now (%v)", err)
	}
}

func TestServeSaysWhyItCannotListen(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	code, _, stderr := result(t, hearth(t, dir, "serve", "--log.level=error", "--server.listen="+taken.Addr().String()))
	if code != exitFailure || !strings.HasPrefix(stderr, "hearth: server.listen: ") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
}

func TestServeReloadsOnSIGHUPAndStopsOnSIGTERM(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const base = "server: {listen: \"127.0.0.1:0\"}\n"
	writeAll(t, dir, map[string]string{"hearth.yaml": base})
	server := start(t, dir)
	if body := get(t, "http://"+server.address+"/_hearth/health"); body != `{"status":"ok"}` {
		t.Errorf("health says %q", body)
	}

	writeAll(t, dir, map[string]string{"hearth.yaml": base + "well_known: {server: \"not a host\"}"})
	server.cmd.Process.Signal(syscall.SIGHUP)
	refused := server.waitForLog(t, "configuration not reloaded, the old one stays in force", "", "")
	if !strings.HasPrefix(refused["problems"].(string), "well_known.server: ") {
		t.Errorf("the log says %v", refused)
	}

	writeAll(t, dir, map[string]string{"hearth.yaml": base + "well_known: {server: \"m.example:443\"}\nmedia: {dir: elsewhere}"})
	server.cmd.Process.Signal(syscall.SIGHUP)
	server.waitForLog(t, "setting reloaded", "key", "well_known.server")
	server.waitForLog(t, "setting changed, which needs a restart", "key", "media.dir")
	server.waitForLog(t, "configuration reloaded", "", "")
	if body := get(t, "http://"+server.address+"/.well-known/matrix/server"); body != `{"m.server":"m.example:443"}` {
		t.Errorf("after the reload the server says %q", body)
	}

	server.stop(t)
}

// server is a child that serves.
type server struct {
	cmd     *exec.Cmd
	dir     string
	log     *bufio.Scanner
	address string
}

// start runs a server in dir and waits until it listens.
func start(t *testing.T, dir string) *server {
	t.Helper()
	cmd := hearth(t, dir, "serve")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() }) // for tests that do not come to stop
	s := &server{cmd: cmd, dir: dir, log: bufio.NewScanner(stderr)}
	s.address = s.waitForLog(t, "listening", "for", "server.listen")["address"].(string)
	s.waitForLog(t, "listening", "for", "server.admin_socket")
	return s
}

// stop sends SIGTERM; the server must end well and tidy up.
func (s *server) stop(t *testing.T) {
	t.Helper()
	s.cmd.Process.Signal(syscall.SIGTERM)
	for s.log.Scan() { // reads to the end, as Wait demands
	}
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM the server ended with %v", err)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "data/admin.sock")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the admin socket is still there: %v", err)
	}
}

// waitForLog reads JSON lines until one has the message, and the attribute where one is given.
func (s *server) waitForLog(t *testing.T, msg, key, value string) map[string]any {
	t.Helper()
	for s.log.Scan() {
		var line map[string]any
		if err := json.Unmarshal(s.log.Bytes(), &line); err != nil {
			t.Fatalf("not a line of JSON: %q", s.log.Bytes())
		}
		if line["msg"] == msg && (key == "" || line[key] == value) {
			return line
		}
	}
	t.Fatalf("the log ended without %q", msg)
	return nil
}

func get(t *testing.T, url string) string {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
