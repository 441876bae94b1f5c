package main

import (
	"context"

	"github.com/spf13/pflag"

	"github.com/hearthd/hearth/internal/admin"
)

func profileFlags(f *pflag.FlagSet) {
	f.Int("seconds", 10, "how long a CPU profile takes")
}

// writeProfile has the running server say where its time or memory goes; without one there is nothing to tell.
func writeProfile(ctx context.Context, c *call) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	seconds, err := c.flags.GetInt("seconds")
	if err != nil {
		return err
	}
	server, err := admin.Dial(ctx, cfg.File(cfg.Server.AdminSocket))
	if err != nil {
		return err
	}
	return server.Profile(ctx, c.args[0], seconds, c.stdout)
}
