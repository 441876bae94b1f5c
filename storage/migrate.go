package storage

import (
	"cmp"
	"context"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
)

// migrationFiles are append-only: a file that has left this machine is never changed again, its successor mends it. A file
// NNNN_name.sql is for both databases; where the SQL has to differ there are NNNN_name.sqlite.sql and NNNN_name.postgres.sql.
//
//go:embed migrations/*.sql
var migrationFiles embed.FS

var migrationName = regexp.MustCompile(`^(\d{4})_([a-z0-9_]+)(?:\.(sqlite|postgres))?\.sql$`)

// migration is one step of the schema.
type migration struct {
	version int64
	name    string
	sql     string
}

// migrations are the steps for one dialect, in order, with the placeholders filled in.
func migrations(files fs.FS, d *dialect) ([]migration, error) {
	names, err := fs.Glob(files, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	var out []migration
	for _, path := range names {
		m := migrationName.FindStringSubmatch(path[len("migrations/"):])
		if m == nil {
			return nil, fmt.Errorf("storage: %s is not named like a migration", path)
		}
		if m[3] != "" && m[3] != string(d.kind) {
			continue
		}
		text, err := fs.ReadFile(files, path)
		if err != nil {
			return nil, err
		}
		version, err := strconv.ParseInt(m[1], 10, 64)
		if err != nil {
			return nil, err
		}
		out = append(out, migration{version: version, name: m[2], sql: d.migration.Replace(string(text))})
	}
	slices.SortFunc(out, func(a, b migration) int { return cmp.Compare(a.version, b.version) })
	for i := 1; i < len(out); i++ {
		if out[i].version == out[i-1].version {
			return nil, fmt.Errorf("storage: migrations %s and %s have the same number", out[i-1].name, out[i].name)
		}
	}
	return out, nil
}

// migrate applies every step that the database has not seen yet, each in its own transaction, or all in one where there is nothing yet.
func migrate(ctx context.Context, c conn, d *dialect, log *slog.Logger) error {
	steps, err := migrations(migrationFiles, d)
	if err != nil {
		return err
	}
	if err := createSchema(ctx, c, d); err != nil {
		return err
	}
	return applyMigrations(ctx, c, d, steps, log)
}

func applyMigrations(ctx context.Context, c conn, d *dialect, steps []migration, log *slog.Logger) error {
	unlock, err := lockSchema(ctx, c, d)
	if err != nil {
		return err
	}
	defer unlock()
	if err := c.script(ctx, "create table if not exists schema_version (version bigint primary key, name text not null)"); err != nil {
		return fmt.Errorf("storage: create the table of migrations: %w", err)
	}
	done, err := appliedMigrations(ctx, c)
	if err != nil {
		return fmt.Errorf("storage: read the schema's version: %w", err)
	}
	known := int64(0)
	if len(steps) > 0 {
		known = steps[len(steps)-1].version
	}
	for version, name := range done {
		if version > known {
			return fmt.Errorf("%w: its schema has step %04d (%s), this binary knows steps up to %04d; install the newer version or restore a backup",
				ErrSchemaTooNew, version, name, known)
		}
	}
	steps = slices.DeleteFunc(steps, func(m migration) bool { _, ok := done[m.version]; return ok })
	// A database that has nothing yet has nothing to lose: one commit for all of them makes the first start shorter.
	together := 1
	if len(done) == 0 {
		together = max(len(steps), 1)
	}
	for batch := range slices.Chunk(steps, together) {
		if err := applyMigration(ctx, c, d, batch); err != nil {
			return err
		}
		for _, m := range batch {
			log.Debug("storage: schema migrated", "version", m.version, "name", m.name)
		}
	}
	return nil
}

// applyMigration applies steps in one transaction.
func applyMigration(ctx context.Context, c conn, d *dialect, steps []migration) error {
	if _, err := c.exec(ctx, d.beginWrite, nil); err != nil {
		return err
	}
	var err error
	for _, m := range steps {
		if err = c.script(ctx, m.sql); err == nil {
			_, err = c.exec(ctx, "insert into schema_version (version, name) values ($1, $2)", []any{m.version, m.name})
		}
		if err != nil {
			err = fmt.Errorf("storage: migration %04d (%s): %w", m.version, m.name, err)
			break
		}
	}
	if err == nil {
		_, err = c.exec(ctx, "commit", nil)
	}
	if err != nil {
		_, _ = c.exec(ctx, "rollback", nil) // err says what is wrong
	}
	return err
}

func appliedMigrations(ctx context.Context, c conn) (map[int64]string, error) {
	cur, err := c.query(ctx, "select version, name from schema_version", nil)
	if err != nil {
		return nil, err
	}
	done := map[int64]string{}
	for {
		more, err := cur.next()
		if err != nil || !more {
			cerr := cur.close()
			return done, cmp.Or(err, cerr)
		}
		var version int64
		var name string
		if err := cur.scan([]any{&version, &name}); err != nil {
			_ = cur.close() // err says what is wrong
			return nil, err
		}
		done[version] = name
	}
}

// lockSchema keeps other processes from migrating the same PostgreSQL database; a SQLite file has only one process.
func lockSchema(ctx context.Context, c conn, d *dialect) (unlock func(), err error) {
	if d.kind != PostgreSQL {
		return func() {}, nil
	}
	const key = "hashtextextended(current_schema() || ' hearth schema', 0)"
	if err := c.script(ctx, "select pg_advisory_lock("+key+")"); err != nil {
		return nil, fmt.Errorf("storage: wait for the schema: %w", err)
	}
	return func() { _ = c.script(context.WithoutCancel(ctx), "select pg_advisory_unlock("+key+")") }, nil
}
