package storage

import (
	"strings"
	"unicode"

	"github.com/tidwall/gjson"
)

// searchable is where the searchable text of the event types is that have any.
//
// Spec: client-server-api#server-side-search
var searchable = map[string]string{"m.room.message": "content.body", "m.room.name": "content.name", "m.room.topic": "content.topic"}

// IndexForSearch makes an event findable by its text, if it has any.
func (tx *Tx) IndexForSearch(e *Event) error {
	path, ok := searchable[e.Type]
	if !ok {
		return nil
	}
	body := gjson.GetBytes(e.JSON, path)
	if body.Type != gjson.String || body.Str == "" {
		return nil
	}
	text := strings.ReplaceAll(body.Str, "\x00", " ")
	sql := `insert into search (rowid, body) values ($1, $2)`
	if tx.store.dialect.kind == PostgreSQL {
		sql = `insert into search (pos, body) values ($1, to_tsvector('simple', $2))`
	}
	_, err := tx.exec(sql, e.NID, text)
	return err
}

// RemoveFromSearch takes an event out of the index.
func (tx *Tx) RemoveFromSearch(nid int64) error {
	sql := `delete from search where rowid = $1`
	if tx.store.dialect.kind == PostgreSQL {
		sql = `delete from search where pos = $1`
	}
	_, err := tx.exec(sql, nid)
	return err
}

// maxTerms bounds the words of a search; what comes after them is not looked for.
const maxTerms = 64

// SearchTerms is the words of a text that Search looks for.
func SearchTerms(text string) []string {
	terms := strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.IsMark(r) })
	return terms[:min(len(terms), maxTerms)]
}

// searchQuery is the words in the language of the index.
func (tx *ReadTx) searchQuery(terms []string) string {
	if tx.store.dialect.kind == PostgreSQL {
		return strings.Join(terms, " ")
	}
	return `"` + strings.Join(terms, `" "`) + `"`
}

// CountHits is how many accepted events of some rooms Search could find, counted up to most.
func (tx *ReadTx) CountHits(words string, rooms []int64, most int) (int, error) {
	terms := SearchTerms(words)
	if len(terms) == 0 || len(rooms) == 0 {
		return 0, nil
	}
	sql := `select count(*) from (select e.nid from search join events e on e.nid = search.rowid
		where search match $1 and e.status = 0 and ` + tx.inInts("e.room", 2) + ` limit $3) found`
	if tx.store.dialect.kind == PostgreSQL {
		sql = `select count(*) from (select e.nid from search s join events e on e.nid = s.pos
			where s.body @@ plainto_tsquery('simple', $1) and e.status = 0 and ` + tx.inInts("e.room", 2) + ` limit $3) found`
	}
	var n int
	err := tx.queryRow(sql, tx.searchQuery(terms), list(rooms), most).Scan(&n)
	return n, err
}

// Hit is an event that a search found; a higher Rank fits better.
type Hit struct {
	NID  int64
	Rank float64
}

// Search finds the accepted events of some rooms whose text has all words, best or newest first. before bounds the position from above when
// the newest come first.
func (tx *ReadTx) Search(words string, rooms []int64, byRank bool, before int64, limit, offset int) ([]Hit, error) {
	terms := SearchTerms(words)
	if len(terms) == 0 || len(rooms) == 0 {
		return []Hit{}, nil
	}
	order := "e.pos desc"
	if byRank {
		order = "rank desc, e.pos desc"
	}
	var sql string
	if tx.store.dialect.kind == PostgreSQL {
		sql = `select e.nid, cast(ts_rank(s.body, q) as double precision) as rank from search s join events e on e.nid = s.pos,
			plainto_tsquery('simple', $1) q where s.body @@ q and e.status = 0 and e.pos < $2 and ` + tx.inInts("e.room", 3) + `
			order by ` + order + ` limit $4 offset $5`
	} else {
		sql = `select e.nid, -bm25(search) as rank from search join events e on e.nid = search.rowid
			where search match $1 and e.status = 0 and e.pos < $2 and ` + tx.inInts("e.room", 3) + `
			order by ` + order + ` limit $4 offset $5`
	}
	return collect(tx, func(r rowScanner) (h Hit, err error) {
		err = r.Scan(&h.NID, &h.Rank)
		return h, err
	}, sql, tx.searchQuery(terms), before, list(rooms), limit, offset)
}
