package storage

import "github.com/hearthd/hearth/internal/id"

// Alias is a local alias of a room.
type Alias struct {
	Alias   id.RoomAlias
	Room    int64
	Creator id.UserID
}

// Alias finds a local alias.
func (tx *ReadTx) Alias(alias id.RoomAlias) (Alias, error) {
	a := Alias{Alias: alias}
	err := tx.queryRow(`select room, creator from aliases where alias = $1`, string(alias)).Scan(&a.Room, &a.Creator)
	return a, err
}

// AliasesOf is the local aliases of a room in order.
func (tx *ReadTx) AliasesOf(room int64) ([]id.RoomAlias, error) {
	return collect(tx, scanOne[id.RoomAlias], `select alias from aliases where room = $1 order by alias`, room)
}

// AddAlias adds an alias and reports whether it was free.
func (tx *Tx) AddAlias(a Alias) (bool, error) {
	n, err := tx.exec(`insert into aliases (alias, room, creator) values ($1, $2, $3) on conflict (alias) do nothing`,
		string(a.Alias), a.Room, string(a.Creator))
	return n == 1, err
}

// RemoveAlias removes an alias.
func (tx *Tx) RemoveAlias(alias id.RoomAlias) error {
	_, err := tx.exec(`delete from aliases where alias = $1`, string(alias))
	return err
}

// MoveAliases gives all local aliases of one room to another.
func (tx *Tx) MoveAliases(from, to int64) error {
	_, err := tx.exec(`update aliases set room = $2 where room = $1`, from, to)
	return err
}
