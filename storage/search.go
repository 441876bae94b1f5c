package storage

import (
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/tidwall/gjson"
)

// searchable is where the searchable text of the event types is that have any.
//
// Spec: client-server-api#server-side-search
var searchable = map[string]string{"m.room.message": "content.body", "m.room.name": "content.name", "m.room.topic": "content.topic"}

// IndexForSearch makes an event of a timeline findable by its text, or reports that IndexNextForSearch will.
func (tx *Tx) IndexForSearch(e *Event) (later bool, err error) {
	if searchable[e.Type] == "" {
		return false, nil
	}
	if e.NID > tx.writer.stored.pos { // nothing has been indexed since it came
		return true, nil
	}
	seen, err := tx.searchPosition()
	if err != nil || e.NID > seen {
		return err == nil, err
	}
	return false, tx.indexText(e.NID, e.Type, e.JSON)
}

// IndexNextForSearch makes the next events findable, in the order in which they were stored, and reports whether there may be more. A
// full-text index writes itself out with every transaction, which costs more than a message that is sent alone: so it follows the events.
func (tx *Tx) IndexNextForSearch(most int) (more bool, err error) {
	seen, err := tx.searchPosition()
	if err != nil {
		return false, err
	}
	var n, last int64
	err = tx.queryRow(`select count(*), coalesce(max(nid), 0) from (select nid from events where nid > $1 order by nid limit $2) next`, seen, most).
		Scan(&n, &last)
	if err != nil || n == 0 {
		return false, err
	}
	type entry struct {
		nid  int64
		typ  string
		json []byte
	}
	// What is no part of a timeline now is left to IndexForSearch.
	found, err := collect(&tx.ReadTx, func(r rowScanner) (e entry, err error) {
		err = r.Scan(&e.nid, &e.typ, &e.json)
		return e, err
	}, `select e.nid, w.value, e.json from events e join words w on w.nid = e.type
		where e.nid > $1 and e.nid <= $2 and e.status = 0 and e.pos <> 0 and `+tx.inTexts("w.value", 3)+` order by e.nid`,
		seen, last, list(slices.Collect(maps.Keys(searchable))))
	if err != nil {
		return false, err
	}
	for _, e := range found {
		if err := tx.indexText(e.nid, e.typ, e.json); err != nil {
			return false, err
		}
	}
	_, err = tx.exec(`update search_position set nid = $1`, last)
	return n == int64(most), err
}

// SearchBacklog reports whether IndexNextForSearch has anything to do.
func (tx *ReadTx) SearchBacklog() (waiting bool, err error) {
	err = tx.queryRow(`select exists(select 1 from events where nid > (select nid from search_position))`).Scan(&waiting)
	return waiting, err
}

func (tx *ReadTx) searchPosition() (seen int64, err error) {
	err = tx.queryRow(`select nid from search_position`).Scan(&seen)
	return seen, err
}

func (tx *Tx) indexText(nid int64, typ string, event []byte) error {
	body := gjson.GetBytes(event, searchable[typ])
	if body.Type != gjson.String || body.Str == "" {
		return nil
	}
	sql := `insert into search (rowid, body) values ($1, $2)`
	if tx.store.dialect.kind == PostgreSQL {
		sql = `insert into search (pos, body) values ($1, to_tsvector('simple', $2))`
	}
	_, err := tx.exec(sql, nid, strings.ReplaceAll(body.Str, "\x00", " "))
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
