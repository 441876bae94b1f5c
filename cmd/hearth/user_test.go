package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUserCommands(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		running bool
	}{{"work while the server runs", true}, {"work while it does not", false}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			writeAll(t, dir, map[string]string{"hearth.yaml": "server: {name: example.org, listen: \"127.0.0.1:0\"}\npasswords: {hash_memory: 64 KiB}"})
			if !test.running {
				userConversation(t, dir)
				return
			}
			server := start(t, dir)
			userConversation(t, dir)
			server.stop(t)
		})
	}
}

func userConversation(t *testing.T, dir string) {
	t.Helper()
	for _, step := range []struct {
		args   []string
		stdin  string
		code   int
		stdout string // a regular expression for all of it
		stderr string
	}{
		{args: []string{"user", "list"}},
		{args: []string{"user", "create", "ann", "--admin"}, stdout: `Made the account @ann:example\.org\.\nPassword: [A-Z2-7]{26}\n`},
		{args: []string{"user", "create", "bob", "--password-stdin"}, stdin: "a long secret\n", stdout: `Made the account @bob:example\.org\.\n`},
		{args: []string{"user", "create", "bob"}, code: exitFailure, stderr: "hearth: Desired user ID is already taken.\n"},
		{args: []string{"user", "reset-password", "@ann:example.org"},
			stdout: `@ann:example\.org has a new password and is logged out everywhere\.\nPassword: [A-Z2-7]{26}\n`},
		{args: []string{"user", "deactivate", "bob", "--erase"}, stdout: `Closed the account @bob:example\.org\.\n`},
		{args: []string{"user", "deactivate", "nobody"}, code: exitFailure, stderr: "hearth: User not found.\n"},
		{args: []string{"media", "show", "mxc://example.org/none"}, code: exitFailure, stderr: "hearth: There is no such media here.\n"},
		{args: []string{"media", "quarantine", "none"}, code: exitFailure, stderr: "hearth: Media is named by its URI, mxc://SERVER/ID.\n"},
		{args: []string{"media", "access", "mxc://example.org/none", "all"}, code: exitFailure,
			stderr: "hearth: Access is public, restricted or freeze.\n"},
		{args: []string{"push", "test", "nobody"}, code: exitFailure, stderr: "hearth: User not found.\n"},
		{args: []string{"push", "test", "@ann:example.org"}, code: exitFailure,
			stderr: "hearth: @ann:example.org has no pushers: notifications have to be allowed in an app first\n"},
		{args: []string{"media"}, code: exitUsage, stderr: "hearth: media needs one of show, quarantine, release and access; see hearth help\n"},
		{args: []string{"user", "list"}, stdout: `@ann:example\.org  \d{4}-\d\d-\d\d  admin\n@bob:example\.org  \d{4}-\d\d-\d\d  deactivated\n`},
	} {
		cmd := hearth(t, dir, step.args...)
		cmd.Stdin = strings.NewReader(step.stdin)
		code, stdout, stderr := result(t, cmd)
		if code != step.code || !regexp.MustCompile(`^(?:`+step.stdout+`)$`).MatchString(stdout) {
			t.Errorf("%v: exit code %d, stdout %q; want %d, %s", step.args, code, stdout, step.code, step.stdout)
		}
		if diff := cmp.Diff(step.stderr, stderr); diff != "" {
			t.Errorf("%v: stderr (-want +got):\n%s", step.args, diff)
		}
	}
}
