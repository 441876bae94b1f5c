package main

import (
	"context"
	"fmt"
	"time"

	"github.com/hearthd/hearth/internal/admin"
)

// testPushers has a notification sent to the phones of a user.
func testPushers(ctx context.Context, c *call) error {
	return c.withServer(ctx, func(server admin.Server) error {
		trials, err := server.TestPushers(ctx, c.args[0])
		if err != nil {
			return err
		}
		if len(trials) == 0 {
			return fmt.Errorf("%s has no pushers: notifications have to be allowed in an app first", c.args[0])
		}
		problems := 0
		for _, t := range trials {
			if t.Problem != "" {
				problems++
				fmt.Fprintf(c.stdout, "! %s (%s) through %s: %s\n", t.Device, t.App, t.Gateway, t.Problem)
			} else {
				fmt.Fprintf(c.stdout, "  %s (%s) through %s: taken after %s\n", t.Device, t.App, t.Gateway, t.Took.Round(time.Millisecond))
			}
		}
		if problems > 0 {
			return fmt.Errorf("%d of %d pushers do not work: the lines marked ! say why", problems, len(trials))
		}
		return nil
	})
}
