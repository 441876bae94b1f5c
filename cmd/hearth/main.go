// Command hearth is a Matrix homeserver.
//
// It parses its arguments and delegates: everything a server is made of lives in internal/app.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/hearthd/hearth/internal/appservice"
	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
)

// version is the release this tree becomes.
const version = "0.1.0"

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

// command is one word after "hearth".
type command struct {
	name    string
	args    string
	summary string
	// flags adds what only this command knows.
	flags func(*pflag.FlagSet)
	run   func(context.Context, *call) error
}

// call is one invocation of a command.
type call struct {
	flags  *pflag.FlagSet
	args   []string
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
}

// usageError is a mistake in the command line or the configuration.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func commands() []command {
	return []command{
		{name: "serve", summary: "run the server (the default)", run: serve},
		{name: "init", summary: "write a first configuration and the signing key", flags: initFlags, run: initialise},
		{name: "user create", args: "NAME", summary: "make an account", flags: createFlags, run: createUser},
		{name: "user reset-password", args: "USER", summary: "set a new password and log the user out", flags: passwordFlags, run: resetPassword},
		{name: "user deactivate", args: "USER", summary: "close an account for ever", flags: deactivateFlags, run: deactivateUser},
		{name: "user list", summary: "list the accounts", run: listUsers},
		{name: "media show", args: "MXC", summary: "say what is known of an upload and who sees it", run: showMedia},
		{name: "media quarantine", args: "MXC", summary: "hide an upload from everybody", run: quarantineMedia},
		{name: "media release", args: "MXC", summary: "end a quarantine", run: releaseMedia},
		{name: "media access", args: "MXC public|restricted|freeze", summary: "overrule the freeze for an upload, or no longer", run: setMediaAccess},
		{name: "push test", args: "USER", summary: "send a notification to the user's phones and say what their gateways answer", run: testPushers},
		{name: "notice send", args: "USER TEXT", summary: "tell a user something, as the server", run: sendNotice},
		{name: "report list", summary: "list what users have reported", run: listReports},
		{name: "report delete", args: "NUMBER", summary: "delete a report", run: deleteReport},
		{name: "federation check", args: "NAME", summary: "go to another server step by step and say what is wrong", run: checkFederation},
		{name: "profile", args: "NAME", summary: "write a profile of the running server (cpu, heap, goroutine ...) to stdout", flags: profileFlags, run: writeProfile},
		{name: "check-config", summary: "say what is wrong with the configuration", run: checkConfig},
		{name: "version", summary: "print the version", run: printVersion},
	}
}

// run executes one command line and returns the exit code. Errors are one clear line each on stderr.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	cmd, rest, err := pick(args)
	if err == nil {
		c := &call{flags: config.Flags(), stdin: stdin, stdout: stdout, stderr: stderr}
		c.flags.String("config", "", "")
		if cmd.flags != nil {
			cmd.flags(c.flags)
		}
		if err = c.parse(cmd, rest); err == nil {
			err = cmd.run(ctx, c)
		}
	}
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, pflag.ErrHelp):
		printUsage(stdout)
		return exitOK
	case errors.As(err, &usage):
		printError(stderr, err)
		return exitUsage
	default:
		printError(stderr, err)
		return exitFailure
	}
}

func printError(w io.Writer, err error) {
	text := err.Error()
	// What clients are told in JSON reads better without its code.
	var known *merr.Error
	if errors.As(err, &known) {
		text = known.Msg
	}
	for line := range strings.SplitSeq(text, "\n") {
		fmt.Fprintf(w, "hearth: %s\n", line)
	}
}

// pick finds the command; no word at all means serve.
func pick(args []string) (command, []string, error) {
	all := commands()
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return all[0], args, nil
	}
	if args[0] == "help" {
		return command{}, nil, pflag.ErrHelp
	}
	for _, cmd := range all {
		words := strings.Fields(cmd.name)
		if len(args) >= len(words) && strings.Join(args[:len(words)], " ") == cmd.name {
			return cmd, args[len(words):], nil
		}
	}
	if args[0] == "user" {
		return command{}, nil, usagef("user needs one of create, reset-password, deactivate and list; see hearth help")
	}
	if args[0] == "media" {
		return command{}, nil, usagef("media needs one of show, quarantine, release and access; see hearth help")
	}
	if args[0] == "push" {
		return command{}, nil, usagef("push needs test; see hearth help")
	}
	if args[0] == "notice" {
		return command{}, nil, usagef("notice needs send; see hearth help")
	}
	if args[0] == "report" {
		return command{}, nil, usagef("report needs list or delete; see hearth help")
	}
	if args[0] == "federation" {
		return command{}, nil, usagef("federation needs check; see hearth help")
	}
	return command{}, nil, usagef("there is no command %q; see hearth help", args[0])
}

// parse reads flags and checks the number of arguments.
func (c *call) parse(cmd command, args []string) error {
	if err := c.flags.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return err
		}
		return usagef("%s: %w", cmd.name, err)
	}
	c.args = c.flags.Args()
	if want := len(strings.Fields(cmd.args)); len(c.args) != want {
		if want == 0 {
			return usagef("%s takes no arguments, got %q", cmd.name, c.args[0])
		}
		return usagef("usage: hearth %s %s", cmd.name, cmd.args)
	}
	return nil
}

func printUsage(w io.Writer) {
	fmt.Fprint(w, "Hearth is a Matrix homeserver.\n\nUsage: hearth COMMAND [FLAGS]\n\n")
	for _, cmd := range commands() {
		fmt.Fprintf(w, "  %-42s%s\n", cmd.name+" "+cmd.args, cmd.summary)
	}
	fmt.Fprint(w, `
Every command takes --config FILE (else $HEARTH_CONFIG, else hearth.yaml where there is one) and a flag for every setting, for
instance --server.listen=localhost:8009; config.sample.yaml lists the settings.
user create and reset-password make a password up and print it, or read it with --password-stdin; create knows --admin,
deactivate knows --erase, init knows --if-missing, profile knows --seconds.
Exit codes: 0 success, 1 failure, 2 wrong usage or configuration.
`)
}

// defaultFile is the configuration used when nobody names one.
const defaultFile = "hearth.yaml"

// source says where the configuration comes from. The default file may be missing; a named one may not.
func (c *call) source() config.Source {
	src := config.Source{Flags: c.flags}
	if src.File, _ = c.flags.GetString("config"); src.File != "" {
		return src
	}
	if src.File = os.Getenv("HEARTH_CONFIG"); src.File != "" {
		return src
	}
	if _, err := os.Stat(defaultFile); err == nil {
		src.File = defaultFile
	}
	return src
}

// load reads the configuration; what is wrong with it is a mistake in usage.
func (c *call) load() (config.Config, error) {
	cfg, err := config.Load(c.source())
	if err != nil {
		return config.Config{}, usageError{err}
	}
	return cfg, nil
}

func checkConfig(_ context.Context, c *call) error {
	src := c.source()
	cfg, err := c.load()
	if err != nil {
		return err
	}
	if _, err := appservice.Load(id.ServerName(cfg.Server.Name), cfg.Files(cfg.Appservices)); err != nil {
		return err
	}
	from := src.File
	if from == "" {
		from = "the default configuration"
	}
	fmt.Fprintf(c.stdout, "%s is good: %s, listening on %s, data in %s\n", from, cfg.Server.Name, cfg.Server.Listen, cfg.Server.DataDir)
	return nil
}

func printVersion(_ context.Context, c *call) error {
	fmt.Fprintf(c.stdout, "hearth %s", version)
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				fmt.Fprintf(c.stdout, " (%.12s)", s.Value)
			}
		}
	}
	fmt.Fprintln(c.stdout)
	return nil
}
