package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/hearthd/hearth/internal/admin"
)

// listReports prints what users have reported, the newest first.
func listReports(ctx context.Context, c *call) error {
	return c.withServer(ctx, func(server admin.Server) error {
		reports, err := server.ListReports(ctx)
		if err != nil {
			return err
		}
		for _, r := range reports {
			fmt.Fprintf(c.stdout, "%d  %s  %s reports %s", r.Number, r.At.UTC().Format("2006-01-02 15:04"), r.Reporter, r.About)
			if r.Sender != "" {
				fmt.Fprintf(c.stdout, " of %s", r.Sender)
			}
			// Quoted: what strangers wrote must not move the cursor.
			fmt.Fprintf(c.stdout, ": %q\n", r.Reason)
		}
		return nil
	})
}

func deleteReport(ctx context.Context, c *call) error {
	number, err := strconv.ParseInt(c.args[0], 10, 64)
	if err != nil {
		return usagef("%q is not the number of a report", c.args[0])
	}
	return c.withServer(ctx, func(server admin.Server) error { return server.DeleteReport(ctx, number) })
}
