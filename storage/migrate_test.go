package storage_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

// later are migrations numbered after all real ones.
var later = map[string]string{
	"9001_shelf.sql":          "create table shelf (nid {{serial}}, label text not null, body {{blob}}, extra {{json}}); create index shelf_label on shelf (label);",
	"9002_book.sqlite.sql":    "create table book (id {{key}}, engine text not null default 'sqlite');\n-- the end\n",
	"9002_book.postgres.sql":  "create table book (id {{key}}, engine text not null default 'postgres');\n-- the end\n",
	"9003_member.sql":         "create table member (a text, b text, primary key (a, b)) {{rowless}};\ninsert into book (id) values (1);",
	"9000_before_shelves.sql": "-- nothing yet",
}

func TestMigrations(t *testing.T) {
	storagetest.EachConfig(t, func(t *testing.T, cfg storage.Config) {
		s := storagetest.Reopen(t, cfg)
		must(t, s.Migrate(later))
		must(t, s.Migrate(later)) // nothing is done twice
		must(t, s.Update(t.Context(), func(tx *storage.Tx) error {
			var first, second int64
			must(t, tx.QueryRow("insert into shelf (label) values ('a') returning nid").Scan(&first))
			_, err := tx.Exec("delete from shelf")
			must(t, err)
			must(t, tx.QueryRow("insert into shelf (label) values ('b') returning nid").Scan(&second))
			if first < 1 || second <= first {
				t.Errorf("a serial went from %d to %d", first, second)
			}
			var engine string
			must(t, tx.QueryRow("select engine from book where id = 1").Scan(&engine))
			if engine != string(s.Kind()) {
				t.Errorf("the variant for %s was applied", engine)
			}
			return nil
		}))
	})
}

func TestMigrationsThatAreRefused(t *testing.T) {
	with := func(name, text string) map[string]string {
		files := map[string]string{name: text}
		for n, text := range later {
			files[n] = text
		}
		return files
	}
	for _, test := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"a step that fails leaves nothing behind", with("9004_bad.sql", "create table half (id {{key}}); insert into nowhere values (1);"), "migration 9004 (bad)"},
		{"two steps with one number", with("9003_again.sql", "select 1;"), "same number"},
		{"a file that is not named like a step", with("9_x.sql", "select 1;"), "not named like a migration"},
	} {
		t.Run(test.name, func(t *testing.T) {
			storagetest.Each(t, func(t *testing.T, s *storage.Store) {
				err := s.Migrate(test.files)
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("error %v", err)
				}
				err = s.Update(t.Context(), func(tx *storage.Tx) error {
					_, err := tx.Exec("create table half (id bigint)")
					return err
				})
				if err != nil {
					t.Errorf("the failed step was not undone: %v", err)
				}
			})
		})
	}
}

func TestASchemaNewerThanTheBinaryIsRefused(t *testing.T) {
	storagetest.EachConfig(t, func(t *testing.T, cfg storage.Config) {
		s := storagetest.Reopen(t, cfg)
		must(t, s.Migrate(later))
		must(t, s.Close())
		_, err := storage.Open(t.Context(), cfg, storagetest.Log(t))
		if !errors.Is(err, storage.ErrSchemaTooNew) || !strings.Contains(err.Error(), "install the newer version") {
			t.Errorf("error %v", err)
		}
	})
}
