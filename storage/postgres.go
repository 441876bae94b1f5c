package storage

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// postgresConn is a connection to PostgreSQL; pgx keeps its prepared statements.
type postgresConn struct {
	c *pgx.Conn
}

// openPostgres connects for the writer or for a reader.
func (s *Store) openPostgres(ctx context.Context, writes bool) (conn, error) {
	cfg, err := pgx.ParseConfig(s.cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	cfg.StatementCacheCapacity = maxStatements
	if !writes {
		cfg.RuntimeParams["default_transaction_read_only"] = "on"
	}
	c, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	return &postgresConn{c: c}, nil
}

func (c *postgresConn) exec(ctx context.Context, sql string, args []any) (int64, error) {
	plain, err := bindAll(args)
	if err != nil {
		return 0, err
	}
	tag, err := c.c.Exec(ctx, sql, plain...)
	if err == nil && sql == "commit" && tag.String() != "COMMIT" {
		err = errors.New("the database rolled back instead of committing")
	}
	return tag.RowsAffected(), err
}

func bindAll(args []any) ([]any, error) {
	plain := make([]any, len(args))
	for i, a := range args {
		v, err := bindable(a)
		if err != nil {
			return nil, fmt.Errorf("argument $%d: %w", i+1, err)
		}
		plain[i] = v
	}
	return plain, nil
}

func (c *postgresConn) query(ctx context.Context, sql string, args []any) (cursor, error) {
	plain, err := bindAll(args)
	if err != nil {
		return nil, err
	}
	rows, err := c.c.Query(ctx, sql, plain...)
	if err != nil {
		return nil, err
	}
	return &postgresCursor{rows: rows}, nil
}

func (c *postgresConn) script(ctx context.Context, sql string) error {
	return c.c.PgConn().Exec(ctx, sql).Close()
}

func (c *postgresConn) usable() bool { return !c.c.IsClosed() && c.c.PgConn().TxStatus() == 'I' }

// interrupt has nothing to do: pgx watches the context of each statement.
func (c *postgresConn) interrupt() {}

func (c *postgresConn) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return c.c.Close(ctx)
}

// postgresCursor reads the rows of one query.
type postgresCursor struct {
	rows pgx.Rows
}

func (r *postgresCursor) next() (bool, error) {
	if r.rows.Next() {
		return true, nil
	}
	return false, r.rows.Err()
}

func (r *postgresCursor) close() error {
	r.rows.Close()
	return r.rows.Err()
}

func (r *postgresCursor) scan(dest []any) error {
	values, err := r.rows.Values()
	if err != nil {
		return err
	}
	if len(values) != len(dest) {
		return fmt.Errorf("%d places for %d columns", len(dest), len(values))
	}
	for i, v := range values {
		plain, err := plainValue(v)
		if err == nil {
			err = assign(dest[i], plain)
		}
		if err != nil {
			return fmt.Errorf("column %d: %w", i+1, err)
		}
	}
	return nil
}

// plainValue brings what PostgreSQL's types become in Go into the few forms that SQLite knows.
func plainValue(v any) (any, error) {
	switch v := v.(type) {
	case int16:
		return int64(v), nil
	case int32:
		return int64(v), nil
	case float32:
		return float64(v), nil
	case bool:
		if v {
			return int64(1), nil
		}
		return int64(0), nil
	case []byte:
		return append([]byte{}, v...), nil
	case pgtype.Numeric: // sum(bigint)
		if n, err := v.Int64Value(); err == nil {
			if !n.Valid {
				return nil, nil
			}
			return n.Int64, nil
		}
		f, err := v.Float64Value()
		return f.Float64, err
	case nil, int64, float64, string:
		return v, nil
	}
	return nil, fmt.Errorf("a column of the type %T is not used here; cast it", v)
}

// doorbellChannel carries "schema position"; one channel serves all schemas of a database.
const doorbellChannel = "hearth_stream"

// announce has the other processes told of pos when the transaction commits.
func (s *Store) announce(c conn, pos int64) error {
	if s.dialect.kind != PostgreSQL {
		return nil
	}
	_, err := c.exec(context.Background(), "select pg_notify('"+doorbellChannel+
		"', current_schema() || ' ' || $1::bigint::text)", []any{pos})
	return err
}

// listen waits for other processes' commits until ctx ends. After a lost connection it connects again and looks at the
// position itself, because what was announced meanwhile is gone.
func (s *Store) listen(ctx context.Context) {
	for wait := time.Second; ctx.Err() == nil; {
		err := s.listenOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		s.log.Warn("storage: the connection that hears of other processes' commits was lost", "error", err)
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
		wait = min(2*wait, 30*time.Second)
	}
}

func (s *Store) listenOnce(ctx context.Context) error {
	opened, err := s.openPostgres(ctx, false)
	if err != nil {
		return err
	}
	c := opened.(*postgresConn)
	defer c.close()
	if err := c.script(ctx, "listen "+doorbellChannel); err != nil {
		return err
	}
	var schema string
	if err := c.c.QueryRow(ctx, "select current_schema()").Scan(&schema); err != nil {
		return err
	}
	at, err := readEnds(ctx, c, "select pos, backfill from stream_position")
	if err != nil {
		return err
	}
	s.heard(at.pos)
	for {
		n, err := c.c.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		if pos, ok := parseAnnouncement(n.Payload, schema); ok {
			s.heard(pos)
		}
	}
}

// heard takes note of a commit; a commit of this process is known already and rings nobody.
func (s *Store) heard(pos int64) {
	if pos <= s.committed.Load() {
		return
	}
	s.advance(pos)
	if s.cfg.Doorbell != nil {
		s.cfg.Doorbell(pos)
	}
}

func parseAnnouncement(payload, schema string) (int64, bool) {
	fields := strings.Fields(payload)
	if len(fields) != 2 || fields[0] != schema {
		return 0, false
	}
	pos, err := strconv.ParseInt(fields[1], 10, 64)
	return pos, err == nil && pos >= 0
}
