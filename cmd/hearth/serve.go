package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hearthd/hearth/internal/app"
	"github.com/hearthd/hearth/internal/config"
)

// serve runs the server until ctx ends (SIGTERM, SIGINT) or it fails. SIGHUP reloads the configuration.
func serve(ctx context.Context, c *call) error {
	src := c.source()
	cfg, err := c.load()
	if err != nil {
		return err
	}
	limitMemory(&cfg)
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)

	a, err := app.New(ctx, cfg, app.Options{Version: version, LogTo: c.stderr})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	select {
	case <-a.Ready():
		greet(c, a, &cfg)
		defer time.AfterFunc(startPages, releasePages).Stop()
	case err := <-ended:
		return errors.Join(err, a.Close())
	}
	for {
		select {
		case <-hangup:
			next, changes, err := config.Reload(cfg, src)
			if err != nil {
				a.Log().Error("configuration not reloaded, the old one stays in force", "problems", err.Error())
				continue
			}
			for _, change := range changes {
				if change.Applied {
					a.Log().Info("setting reloaded", "key", change.Key)
				} else {
					a.Log().Warn("setting changed, which needs a restart", "key", change.Key)
				}
			}
			a.Reload(next)
			cfg = next
			a.Log().Info("configuration reloaded")
		case err := <-ended:
			return errors.Join(err, a.Close())
		}
	}
}

// greet tells whoever started the server what to do next.
func greet(c *call, a *app.App, cfg *config.Config) {
	fmt.Fprintf(c.stdout, "Hearth %s serves %s at %s\n", version, cfg.Server.Name, cfg.BaseURL())
	token := a.SetupToken()
	if token == "" || cfg.Registration.Mode != config.RegistrationToken {
		return
	}
	fmt.Fprintf(c.stdout, `
There is no administrator yet. Either register one in a Matrix client: take %s as the homeserver, choose to create an
account, and give this registration token, which works once:

    %s

or type in another terminal, in this directory:

    %s user create YOURNAME --admin

`, cfg.BaseURL(), token, os.Args[0])
}
