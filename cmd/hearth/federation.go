package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"

	"github.com/hearthd/hearth/federationapi/fedclient"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/safehttp"
)

// checkFederation looks at a server as this one would with its configuration; nothing of it need be running. A server can check itself.
func checkFederation(ctx context.Context, c *call) error {
	server, err := id.ParseServerName(c.args[0])
	if err != nil {
		return usagef("%q is not a server name like example.org", c.args[0])
	}
	cfg, err := c.load()
	if err != nil {
		return err
	}
	trusted, err := safehttp.ReadAuthorities(cfg.File(cfg.Federation.CAFile))
	if err != nil {
		return err
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	// What is asked here is not signed, so that neither the server's name nor its key is needed.
	client, err := fedclient.New(fedclient.Options{
		Key: key, Authorities: trusted, Guard: safehttp.NewGuard(cfg.Outbound.DenyNetworks, cfg.Outbound.AllowNetworks), UserAgent: "Hearth/" + version,
	})
	if err != nil {
		return err
	}
	defer client.Close()
	problems := client.Check(ctx, server, func(s fedclient.Step) {
		mark := "  "
		if s.Problem {
			mark = "! "
		}
		fmt.Fprintln(c.stdout, mark+s.Text)
	})
	switch problems {
	case 0:
		fmt.Fprintf(c.stdout, "All is well with %s.\n", server)
		return nil
	case 1:
		return fmt.Errorf("there is a problem with %s: the line marked ! says which", server)
	}
	return fmt.Errorf("there are %d problems with %s: the lines marked ! say which", problems, server)
}
