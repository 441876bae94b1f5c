package main

import (
	"context"
	"fmt"
	"time"

	"github.com/hearthd/hearth/internal/admin"
)

func showMedia(ctx context.Context, c *call) error {
	return c.withServer(ctx, func(server admin.Server) error {
		f, err := server.ShowMedia(ctx, c.args[0])
		if err != nil {
			return err
		}
		fmt.Fprintf(c.stdout, "%s\n%s, %d bytes, here since %s\n", f.URI, f.Type, f.Size, f.AvailableAt.Format(time.RFC3339))
		if f.Owner != "" {
			fmt.Fprintf(c.stdout, "uploaded by %s\n", f.Owner)
		}
		fmt.Fprintf(c.stdout, "access: %s\n", f.Access)
		switch {
		case f.Quarantined:
			fmt.Fprintln(c.stdout, "in quarantine: nobody sees it")
		case f.Frozen:
			fmt.Fprintln(c.stdout, "only who is logged in sees it")
		default:
			fmt.Fprintln(c.stdout, "everybody sees it, also through the old endpoints without logging in")
		}
		return nil
	})
}

func quarantineMedia(ctx context.Context, c *call) error {
	return c.withServer(ctx, func(server admin.Server) error {
		if err := server.QuarantineMedia(ctx, c.args[0], true); err != nil {
			return err
		}
		fmt.Fprintf(c.stdout, "%s is hidden from everybody.\n", c.args[0])
		return nil
	})
}

func releaseMedia(ctx context.Context, c *call) error {
	return c.withServer(ctx, func(server admin.Server) error {
		if err := server.QuarantineMedia(ctx, c.args[0], false); err != nil {
			return err
		}
		fmt.Fprintf(c.stdout, "%s is out of quarantine.\n", c.args[0])
		return nil
	})
}

func setMediaAccess(ctx context.Context, c *call) error {
	return c.withServer(ctx, func(server admin.Server) error {
		if err := server.SetMediaAccess(ctx, c.args[0], c.args[1]); err != nil {
			return err
		}
		fmt.Fprintf(c.stdout, "The access of %s is %s.\n", c.args[0], c.args[1])
		return nil
	})
}
