package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/pflag"

	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/keyfile"
)

func initFlags(set *pflag.FlagSet) { set.Bool("if-missing", false, "") }

const firstConfig = `# The configuration of this Hearth. Only what differs from the defaults needs to be here; config.sample.yaml explains every setting.
# "hearth check-config" tells what is wrong with it; SIGHUP makes a running server read it again.

server:
  # The part of user ids after the colon: @you:%[1]s. Choose it before anybody uses the server, it cannot be changed later.
  name: %[1]q
  listen: %[2]q
  # Database, media and signing key are here. Back this directory up.
  data_dir: %[3]q
`

// initialise writes the configuration file and the signing key. Neither is ever overwritten.
func initialise(_ context.Context, c *call) error {
	path, _ := c.flags.GetString("config")
	if path == "" {
		path = os.Getenv("HEARTH_CONFIG")
	}
	if path == "" {
		path = defaultFile
	}
	ifMissing, _ := c.flags.GetBool("if-missing")
	if err := onlyInitFlags(c.flags); err != nil {
		return err
	}
	exists := fileExists(path)
	if exists && !ifMissing {
		return usagef("%s exists already; it is left as it is (--if-missing accepts that)", path)
	}
	src := config.Source{Flags: c.flags}
	if exists {
		src.File = path
	}
	cfg, err := config.Load(src)
	if err != nil {
		return usageError{err}
	}
	if !exists {
		text := fmt.Sprintf(firstConfig, cfg.Server.Name, cfg.Server.Listen, cfg.Server.DataDir)
		// The file may come to hold secrets.
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return fmt.Errorf("write configuration: %w", err)
		}
		fmt.Fprintf(c.stdout, "Wrote %s, for the server name %s.\n", path, cfg.Server.Name)
		if cfg.Server.Name == "localhost" {
			fmt.Fprintf(c.stdout, "That name is for trying things out. For real use change server.name in %s before the first account is made.\n", path)
		}
	}
	keyPath := cfg.File(cfg.Server.SigningKeyPath)
	_, err = keyfile.Load(keyPath)
	if err == nil {
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if cfg.Database.URL == "" && fileExists(cfg.File(cfg.Database.Path)) {
		return fmt.Errorf("there is a database but no signing key at %s: restore the key from a backup", keyPath)
	}
	if _, err := keyfile.Create(keyPath); err != nil {
		return err
	}
	fmt.Fprintf(c.stdout, "Made a signing key, %s.\n", keyPath)
	return nil
}

// onlyInitFlags refuses flags whose value the new file would not hold.
func onlyInitFlags(set *pflag.FlagSet) error {
	var problems []error
	set.Visit(func(f *pflag.Flag) {
		switch f.Name {
		case "config", "if-missing", "server.name", "server.listen", "server.data_dir":
		default:
			problems = append(problems, fmt.Errorf("init does not write %s into the file; add it there afterwards", f.Name))
		}
	})
	if len(problems) > 0 {
		return usageError{errors.Join(problems...)}
	}
	return nil
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
