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
	return c.withServer(ctx, func(server admin.Server) error {
		user, err := server.CreateUser(ctx, c.args[0], password, isAdmin)
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
	return c.withServer(ctx, func(server admin.Server) error {
		user, err := server.ResetPassword(ctx, c.args[0], password)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.stdout, "%s has a new password and is logged out everywhere.\n%s", user, shown)
		return nil
	})
}

func deactivateUser(ctx context.Context, c *call) error {
	erase, _ := c.flags.GetBool("erase")
	return c.withServer(ctx, func(server admin.Server) error {
		user, err := server.Deactivate(ctx, c.args[0], erase)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.stdout, "Closed the account %s.\n", user)
		return nil
	})
}

func listUsers(ctx context.Context, c *call) error {
	return c.withServer(ctx, func(server admin.Server) error {
		users, err := server.ListUsers(ctx)
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
