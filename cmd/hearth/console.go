package main

import (
	"context"
	"errors"

	"github.com/hearthd/hearth/internal/admin"
	"github.com/hearthd/hearth/internal/app"
)

// withServer reaches the running server through its socket, or opens the database where none runs.
func (c *call) withServer(ctx context.Context, do func(admin.Server) error) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	if client, err := admin.Dial(ctx, cfg.File(cfg.Server.AdminSocket)); err == nil {
		return do(client)
	} else if !errors.Is(err, admin.ErrNoServer) {
		return err
	}
	a, err := app.New(ctx, cfg, app.Options{Version: version})
	if err != nil {
		return err
	}
	return errors.Join(do(a.Console()), a.Close())
}
