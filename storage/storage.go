// Package storage keeps everything Hearth must not lose: one Store over one SQLite file or one PostgreSQL database, all of
// the SQL, the migrations, and the one totally ordered stream of durable changes.
//
// A change is a function given to Store.Update, a question a function given to Store.View; both get their transaction as an
// explicit argument. Whatever a crash must not separate belongs into one Update. The package refuses to do network I/O, to
// know Matrix rules, and to tell anybody of a change before it is durable: for that there is Tx.OnCommit.
//
// Every noun has its file, with the row types beside their SQL: methods on *ReadTx answer questions, methods on *Tx change
// things. The engine is in store.go (Store), tx.go (the statement helpers that noun files use), group.go (the one writer),
// position.go (the stream), dialect.go (what differs between the two databases), migrate.go, sqlite.go and postgres.go.
package storage

import "errors"

// ErrNotFound says that the row asked for does not exist. It is the only way in which this package reports absence.
var ErrNotFound = errors.New("storage: not found")

// ErrClosed is what View and Update answer once the Store has been closed.
var ErrClosed = errors.New("storage: the store is closed")

// ErrInUse says that another process has the database file open; two servers must never share one file.
var ErrInUse = errors.New("storage: the database is in use by another process")

// ErrSchemaTooNew says that the database was migrated by a newer Hearth than this binary.
var ErrSchemaTooNew = errors.New("storage: the database was written by a newer version of Hearth")

// Kind names the database behind a Store.
type Kind string

// The two databases that the same SQL runs on.
const (
	SQLite     Kind = "sqlite"
	PostgreSQL Kind = "postgres"
)
