// Package storagetest opens real stores for tests. The store opens in milliseconds, so it is its own best fake; nobody needs
// another. It refuses to be imported by anything but tests.
package storagetest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/hearthd/hearth/storage"
)

// PostgresEnv names the environment variable with the postgres:// URL of a database in which tests may create schemas;
// build/test-postgres.sh sets it.
const PostgresEnv = "HEARTH_TEST_POSTGRES_URL"

// Open gives a test a fresh, empty SQLite store that is closed when the test ends.
func Open(t testing.TB) *storage.Store {
	t.Helper()
	cfg := SQLiteConfig(t)
	Make(t, cfg.Path)
	return Reopen(t, cfg)
}

// Make writes the file of an empty SQLite store whose schema is up to date.
func Make(t testing.TB, path string) {
	t.Helper()
	fresh, err := migrated()
	if err == nil {
		err = os.WriteFile(path, fresh, 0o600)
	}
	if err != nil {
		t.Fatalf("make a store: %v", err)
	}
}

// migrated is the file of an empty store. It is made once: with the race detector, to bring the schema up to date takes longer than most tests.
var migrated = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "storagetest")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "hearth.db")
	s, err := storage.Open(context.Background(), storage.Config{Path: path}, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	if err := s.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

// OpenAny is Open over PostgreSQL where PostgresEnv is set.
func OpenAny(t testing.TB) *storage.Store {
	t.Helper()
	if os.Getenv(PostgresEnv) != "" {
		return Reopen(t, PostgresConfig(t))
	}
	return Open(t)
}

// Each runs fn as a subtest over a fresh SQLite store and, where PostgresEnv is set, over a fresh PostgreSQL schema.
func Each(t *testing.T, fn func(t *testing.T, s *storage.Store)) {
	t.Helper()
	t.Run(string(storage.SQLite), func(t *testing.T) { fn(t, Open(t)) })
	if os.Getenv(PostgresEnv) != "" {
		t.Run(string(storage.PostgreSQL), func(t *testing.T) { fn(t, Reopen(t, PostgresConfig(t))) })
	}
}

// EachConfig is Each for tests that open the store themselves, for instance twice.
func EachConfig(t *testing.T, fn func(t *testing.T, cfg storage.Config)) {
	t.Helper()
	t.Run(string(storage.SQLite), func(t *testing.T) { fn(t, SQLiteConfig(t)) })
	if os.Getenv(PostgresEnv) != "" {
		t.Run(string(storage.PostgreSQL), func(t *testing.T) { fn(t, PostgresConfig(t)) })
	}
}

// Reopen opens the store that cfg describes and closes it when the test ends.
func Reopen(t testing.TB, cfg storage.Config) *storage.Store {
	t.Helper()
	s, err := storage.Open(context.Background(), cfg, Log(t))
	if err != nil {
		t.Fatalf("open the store: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	return s
}

// SQLiteConfig describes a file that does not exist yet.
func SQLiteConfig(t testing.TB) storage.Config {
	t.Helper()
	return storage.Config{Path: filepath.Join(t.TempDir(), "hearth.db")}
}

// PostgresConfig describes a fresh schema, which is dropped when the test ends. PostgresEnv must be set.
func PostgresConfig(t testing.TB) storage.Config {
	t.Helper()
	base := os.Getenv(PostgresEnv)
	u, err := url.Parse(base)
	if err != nil {
		t.Fatalf("%s: %v", PostgresEnv, err)
	}
	name := make([]byte, 8)
	rand.Read(name)
	schema := "test_" + hex.EncodeToString(name)
	run := func(sql string) {
		t.Helper()
		ctx := context.Background()
		c, err := pgx.Connect(ctx, base)
		if err != nil {
			t.Fatalf("connect to %s: %v", PostgresEnv, err)
		}
		defer c.Close(ctx)
		if _, err := c.Exec(ctx, sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	run("create schema " + schema)
	t.Cleanup(func() { run("drop schema " + schema + " cascade") })
	q := u.Query()
	q.Set("search_path", schema)
	u.RawQuery = q.Encode()
	return storage.Config{URL: u.String(), Readers: 4}
}

// Log writes what the store logs into the test's output.
func Log(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}
