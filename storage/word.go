package storage

import (
	"errors"
	"sync"

	"github.com/hearthd/hearth/internal/budget"
)

// words caches the table of the same name in both directions. Its rows never change, so an entry cannot be stale; the maps lose some of it
// when they hold too much.
type words struct {
	mu    sync.RWMutex
	share *budget.Share
	bytes int
	nids  map[string]int64
	names map[int64]string
}

// wordBytes is what an entry takes beside its text, in both maps.
const wordBytes = 100

func newWords(share *budget.Share) *words {
	return &words{share: share, nids: map[string]int64{}, names: map[int64]string{}}
}

func (w *words) nid(value string) (int64, bool) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	n, ok := w.nids[value]
	w.share.Asked(ok)
	return n, ok
}

func (w *words) name(nid int64) (string, bool) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	s, ok := w.names[nid]
	w.share.Asked(ok)
	return s, ok
}

func (w *words) add(nid int64, value string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, known := w.nids[value]; known {
		return
	}
	w.bytes += wordBytes + len(value)
	if !w.share.Hold(w.bytes) {
		w.shed()
	}
	w.nids[value], w.names[nid] = nid, value
}

// shed makes room for a while: which entries go is left to chance. The caller holds the lock.
func (w *words) shed() {
	for value, nid := range w.nids {
		delete(w.nids, value)
		delete(w.names, nid)
		if w.bytes -= wordBytes + len(value); w.bytes <= w.share.Limit()/4*3 {
			break
		}
	}
	w.share.Hold(w.bytes)
}

// cachedNID is the number of a name, from a cache or else by the statement. What is read is cached at once in a View, which sees only what is
// committed, and not in an Update.
func (tx *ReadTx) cachedNID(cache *words, name, sql string) (int64, error) {
	if n, ok := cache.nid(name); ok {
		return n, nil
	}
	var n int64
	if err := tx.queryRow(sql, name).Scan(&n); err != nil {
		return 0, err
	}
	if tx.writer == nil {
		cache.add(n, name)
	}
	return n, nil
}

// cachedName is cachedNID the other way.
func (tx *ReadTx) cachedName(cache *words, nid int64, sql string) (string, error) {
	if s, ok := cache.name(nid); ok {
		return s, nil
	}
	var s string
	if err := tx.queryRow(sql, nid).Scan(&s); err != nil {
		return "", err
	}
	if tx.writer == nil {
		cache.add(nid, s)
	}
	return s, nil
}

// newWord is the key of the note about a word that is not committed yet.
type newWord string

// wordNID is the number of a word that is stored already; ErrNotFound means that no row can refer to it.
func (tx *ReadTx) wordNID(value string) (int64, error) {
	if n, ok := tx.Noted(newWord(value)); ok {
		return n.(int64), nil
	}
	return tx.cachedNID(tx.store.words, value, `select nid from words where value = $1`)
}

// twoWords is wordNID of each of two.
func (tx *ReadTx) twoWords(first, second string) (a, b int64, err error) {
	if a, err = tx.wordNID(first); err != nil {
		return 0, 0, err
	}
	b, err = tx.wordNID(second)
	return a, b, err
}

// intern is wordNID that adds the word if it is new.
func (tx *Tx) intern(value string) (int64, error) {
	n, err := tx.wordNID(value)
	if !errors.Is(err, ErrNotFound) {
		return n, err
	}
	err = tx.queryRow(`insert into words (value) values ($1) on conflict (value) do update set value = excluded.value returning nid`,
		value).Scan(&n)
	if err != nil {
		return 0, err
	}
	tx.Note(newWord(value), n)
	tx.OnCommit(func() { tx.store.words.add(n, value) })
	return n, nil
}

// word is the string behind a number.
func (tx *ReadTx) word(nid int64) (string, error) {
	return tx.cachedName(tx.store.words, nid, `select value from words where nid = $1`)
}

// warmWords brings the words of many numbers into the cache with one query, so that word answers from memory afterwards.
func (tx *ReadTx) warmWords(nids []int64) error {
	var missing []int64
	for _, n := range nids {
		if _, ok := tx.store.words.name(n); !ok {
			missing = append(missing, n)
		}
	}
	if len(missing) < 2 || tx.writer != nil { // in an Update nothing read may be cached before the commit
		return nil
	}
	type pair struct {
		nid   int64
		value string
	}
	rows, err := collect(tx, func(r rowScanner) (p pair, err error) {
		err = r.Scan(&p.nid, &p.value)
		return p, err
	}, `select nid, value from words where `+tx.inInts("nid", 1), list(missing))
	for _, p := range rows {
		tx.store.words.add(p.nid, p.value)
	}
	return err
}
