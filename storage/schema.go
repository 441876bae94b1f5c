package storage

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
)

// schemaText is what the migrations make of an empty SQLite database, or those did that there were when it was written: later ones follow as
// anywhere. It is generated (go generate ./storage).
//
//go:embed schema.sqlite.sql
var schemaText string

// createSchema gives an empty SQLite database the schema in one piece. To go through the migrations instead takes more than twice as long, half of a
// first start, because SQLite reads the whole schema again after each "alter table".
func createSchema(ctx context.Context, c conn, d *dialect) error {
	if d.kind != SQLite {
		return nil
	}
	cur, err := c.query(ctx, "select 1 from sqlite_master limit 1", nil)
	if err != nil {
		return fmt.Errorf("storage: look for a schema: %w", err)
	}
	there, err := cur.next()
	if err = errors.Join(err, cur.close()); there || err != nil {
		return err
	}
	if err := c.script(ctx, d.beginWrite+";"+schemaText+"commit;"); err != nil {
		_ = c.script(context.WithoutCancel(ctx), "rollback") // err says what is wrong
		return fmt.Errorf("storage: create the schema: %w", err)
	}
	return nil
}
