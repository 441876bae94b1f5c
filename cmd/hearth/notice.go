package main

import (
	"context"
	"fmt"

	"github.com/hearthd/hearth/internal/admin"
)

// sendNotice tells a user something.
func sendNotice(ctx context.Context, c *call) error {
	return c.withServer(ctx, func(server admin.Server) error {
		user, err := server.SendNotice(ctx, c.args[0], c.args[1])
		if err != nil {
			return err
		}
		fmt.Fprintf(c.stdout, "Told %s.\n", user)
		return nil
	})
}
