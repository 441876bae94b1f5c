package storage_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

type (
	name  string
	count int32
	flag  bool
)

func ptr[T any](v T) *T { return &v }

// kept is one value of each type that noun files store.
type kept struct {
	Int      int64
	Count    count
	Unsigned uint64
	Flag     flag
	Yes      bool
	Name     name
	Text     string
	JSON     json.RawMessage
	Blob     []byte
	Real     float64
	NoName   *name
	AName    *name
	NoInt    *int64
	AnInt    *int64
	Null     sql.NullString
	NoBlob   []byte
}

func TestValuesComeBackAsTheyWereStored(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		want := []kept{
			{JSON: json.RawMessage(`{}`), Blob: []byte{}, NoBlob: nil},
			{math.MinInt64, math.MinInt32, 7, true, true, "@a:x", "ü\n'\"%_\\ 🙂", json.RawMessage(`{"a":"\u0000<&"}`), []byte{0, 1, 255},
				-1.5, nil, ptr(name("n")), nil, ptr(int64(math.MaxInt64)), sql.NullString{String: "s", Valid: true}, nil},
			{Text: strings.Repeat("long ", 300_000), JSON: json.RawMessage(`[]`), Blob: make([]byte, 100_000)},
		}
		must(t, s.Update(t.Context(), func(tx *storage.Tx) error {
			blob := map[storage.Kind]string{storage.SQLite: "blob", storage.PostgreSQL: "bytea"}[s.Kind()]
			_, err := tx.Exec(`create table kept (nid bigint primary key, i bigint, c integer, u bigint, f smallint, y smallint, n text, t text,
				j text, b ` + blob + `, r double precision, no_n text, a_n text, no_i bigint, a_i bigint, s text, no_b ` + blob + `)`)
			must(t, err)
			for nid, k := range want {
				n, err := tx.Exec("insert into kept values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)", nid,
					k.Int, k.Count, k.Unsigned, k.Flag, k.Yes, k.Name, k.Text, k.JSON, k.Blob, k.Real, k.NoName, k.AName, k.NoInt, k.AnInt, k.Null, k.NoBlob)
				if err != nil || n != 1 {
					return fmt.Errorf("%d rows: %w", n, err)
				}
			}
			return nil
		}))
		must(t, s.View(t.Context(), func(tx *storage.ReadTx) error {
			rows, err := tx.Query("select i, c, u, f, y, n, t, j, b, r, no_n, a_n, no_i, a_i, s, no_b from kept order by nid")
			if err != nil {
				return err
			}
			defer rows.Close()
			var got []kept
			for rows.Next() {
				var k kept
				if err := rows.Scan(&k.Int, &k.Count, &k.Unsigned, &k.Flag, &k.Yes, &k.Name, &k.Text, &k.JSON, &k.Blob, &k.Real,
					&k.NoName, &k.AName, &k.NoInt, &k.AnInt, &k.Null, &k.NoBlob); err != nil {
					return err
				}
				got = append(got, k)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			return rows.Err()
		}))
		must(t, s.View(t.Context(), func(tx *storage.ReadTx) error {
			var sum, n, largest int
			var any bool
			err := tx.QueryRow("select sum(u), count(*), max(length(b)), exists (select 1 from kept where f = $1) from kept", true).Scan(&sum, &n, &largest, &any)
			if sum != 7 || n != 3 || largest != 100_000 || !any {
				t.Errorf("sum %d, count %d, length %d, exists %v", sum, n, largest, any)
			}
			return err
		}))
	})
}

func TestValuesThatDoNotFitAreRefused(t *testing.T) {
	var i int
	var i8 int8
	var u uint
	var b bool
	var text string
	for _, test := range []struct {
		name string
		sql  string
		dest any
		args []any
		want string
	}{
		{"null into a string", "select cast(null as text)", &text, nil, "null"},
		{"text into an integer", "select 'x'", &i, nil, "does not fit"},
		{"an integer into a string", "select 7", &text, nil, "does not fit"},
		{"a large integer into a small one", "select 300", &i8, nil, "does not fit"},
		{"a negative integer into an unsigned one", "select -1", &u, nil, "does not fit"},
		{"2 into a bool", "select 2", &b, nil, "does not fit"},
		{"too few places", "select 1, 2", &i, nil, "1 places for 2 columns"},
		{"a place that is no pointer", "select 1", 7, nil, "not a place"},
		{"a time as an argument", "select cast($1 as bigint)", &i, []any{time.Unix(0, 0)}, "time.Time cannot be stored"},
		{"an integer beyond the database's", "select cast($1 as bigint)", &i, []any{uint64(math.MaxUint64)}, "too large"},
		{"too few arguments", "select cast($1 as bigint), cast($2 as bigint)", &i, []any{1}, "argument"},
		{"two statements", "select 1; select 2", &i, nil, "statement"},
	} {
		t.Run(test.name, func(t *testing.T) {
			storagetest.Each(t, func(t *testing.T, s *storage.Store) {
				err := s.View(t.Context(), func(tx *storage.ReadTx) error { return tx.QueryRow(test.sql, test.args...).Scan(test.dest) })
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("error %v, want %q", err, test.want)
				}
			})
		})
	}
}

func TestListArguments(t *testing.T) {
	odd := []name{"plain", "it's", `"quoted"`, `back\slash`, "<&>", "ü🙂", "", "plain"}
	for _, test := range []struct {
		name string
		sql  func(tx *storage.ReadTx) string
		list string
		want []name
	}{
		{"an empty list matches nothing", func(tx *storage.ReadTx) string { return tx.InTexts("name", 1) }, storage.List([]name{}), []name{}},
		{"no list matches nothing", func(tx *storage.ReadTx) string { return tx.InInts("nid", 1) }, storage.List[int64](nil), []name{}},
		{"strings match as they are", func(tx *storage.ReadTx) string { return tx.InTexts("name", 1) }, storage.List(odd), odd[:7]},
		{"unknown strings match nothing", func(tx *storage.ReadTx) string { return tx.InTexts("name", 1) }, storage.List([]string{"PLAIN", "it's"}), []name{"it's"}},
		{"integers match", func(tx *storage.ReadTx) string { return tx.InInts("nid", 1) }, storage.List([]int64{3, math.MaxInt64, 1}), []name{"it's", "back\\slash"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			storagetest.Each(t, func(t *testing.T, s *storage.Store) {
				must(t, s.Update(t.Context(), func(tx *storage.Tx) error {
					_, err := tx.Exec("create table named (nid bigint, name text primary key)")
					must(t, err)
					n, err := tx.Exec("insert into named (nid, name) select $1, l.value from "+tx.Texts(2)+" l where true on conflict do nothing", 0, storage.List(odd))
					if n != 7 {
						t.Errorf("%d rows inserted", n)
					}
					must(t, err)
					for nid, name := range odd[:7] {
						_, err := tx.Exec("update named set nid = $1 where name = $2", nid, name)
						must(t, err)
					}
					return nil
				}))
				must(t, s.View(t.Context(), func(tx *storage.ReadTx) error {
					got, err := storage.Collect[name](tx, "select name from named where "+test.sql(tx)+" order by nid", test.list)
					if diff := cmp.Diff(test.want, got); diff != "" {
						t.Error(diff)
					}
					sum, err2 := storage.Collect[int64](tx, "select sum(l.value) from "+tx.Ints(1)+" l", storage.List([]int{40, 2}))
					if err2 != nil || sum[0] != 42 {
						t.Error(sum, err2)
					}
					return err
				}))
			})
		})
	}
}

func TestManyDifferentStatementsAreForgottenAgain(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		must(t, s.View(t.Context(), func(tx *storage.ReadTx) error {
			for i := range 1500 {
				got, err := storage.Collect[int](tx, fmt.Sprintf("select %d + cast($1 as integer)", i), 1)
				if err != nil || got[0] != i+1 {
					return fmt.Errorf("got %v: %w", got, err)
				}
			}
			return nil
		}))
	})
}

func TestErrorsNameTheStatementButNotItsArguments(t *testing.T) {
	s := storagetest.Open(t)
	err := s.Update(t.Context(), func(tx *storage.Tx) error {
		_, err := tx.Exec("insert\n\t\tinto   nowhere (token) values ($1)", "secret")
		return err
	})
	if got := fmt.Sprint(err); !strings.Contains(got, "insert into nowhere (token)") || strings.Contains(got, "secret") {
		t.Error(got)
	}
}

func TestStatementsOfStoreStayShortInErrors(t *testing.T) {
	if got := storage.Brief(strings.Repeat("select  ", 100)); len(got) > 100 {
		t.Error(len(got))
	}
}
