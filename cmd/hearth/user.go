package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/pflag"

	"github.com/hearthd/hearth/internal/admin"
	"github.com/hearthd/hearth/internal/app"
)

func passwordFlags(set *pflag.FlagSet)   { set.Bool("password-stdin", false, "") }
func deactivateFlags(set *pflag.FlagSet) { set.Bool("erase", false, "") }

func createFlags(set *pflag.FlagSet) {
	passwordFlags(set)
	set.Bool("admin", false, "")
}

func createUser(ctx context.Context, c *call) error {
	password, shown, err := c.password()
	if err != nil {
		return err
	}
	isAdmin, _ := c.flags.GetBool("admin")
	return c.withAccounts(ctx, func(accounts admin.Accounts) error {
		user, err := accounts.CreateUser(ctx, c.args[0], password, isAdmin)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.stdout, "Made the account %s.\n%s", user, shown)
		return nil
	})
}

func resetPassword(ctx context.Context, c *call) error {
	password, shown, err := c.password()
	if err != nil {
		return err
	}
	return c.withAccounts(ctx, func(accounts admin.Accounts) error {
		user, err := accounts.ResetPassword(ctx, c.args[0], password)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.stdout, "%s has a new password and is logged out everywhere.\n%s", user, shown)
		return nil
	})
}

func deactivateUser(ctx context.Context, c *call) error {
	erase, _ := c.flags.GetBool("erase")
	return c.withAccounts(ctx, func(accounts admin.Accounts) error {
		user, err := accounts.Deactivate(ctx, c.args[0], erase)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.stdout, "Closed the account %s.\n", user)
		return nil
	})
}

func listUsers(ctx context.Context, c *call) error {
	return c.withAccounts(ctx, func(accounts admin.Accounts) error {
		users, err := accounts.ListUsers(ctx)
		if err != nil {
			return err
		}
		table := tabwriter.NewWriter(c.stdout, 0, 8, 2, ' ', 0)
		for _, u := range users {
			fmt.Fprintf(table, "%s\t%s\t%s\n", u.ID, u.CreatedAt.UTC().Format("2006-01-02"), strings.Join(u.Marks(), ","))
		}
		return table.Flush()
	})
}

// withAccounts reaches the accounts through the socket of the running server, or opens the database where none runs.
func (c *call) withAccounts(ctx context.Context, do func(admin.Accounts) error) error {
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
	return errors.Join(do(a.Accounts()), a.Close())
}

// password reads the password from standard input, or makes one up; shown is what to print about it in that case.
func (c *call) password() (password, shown string, err error) {
	if fromStdin, _ := c.flags.GetBool("password-stdin"); !fromStdin {
		password = rand.Text()
		return password, fmt.Sprintf("Password: %s\n", password), nil
	}
	line, err := bufio.NewReader(io.LimitReader(c.stdin, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", "", fmt.Errorf("read password: %w", err)
	}
	if password = strings.TrimRight(line, "\r\n"); password == "" {
		return "", "", usagef("there is no password on standard input")
	}
	return password, "", nil
}
