package storage_test

import (
	"math"
	"strings"
	"testing"

	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

// What somebody types is never a query language, and never too much.
func TestAnySearchIsAnswered(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := storagetest.NewRoom(t, s, "!r:one", aliceOne)
		e := r.Message(aliceOne, "un café, s'il vous plaît \U0001F600 日本語")
		updating(t, s, func(tx *storage.Tx) error { return tx.IndexForSearch(e) })
		for words, found := range map[string]bool{
			"café": true, "CAFÉ": true, "vous café": true, "plaît": true, "日本語": true, "thé": false, "café thé": false,
			"\U0001F600": false, "\u0301": false, "\x00": false, `"`: false, "*": false, "'; drop table events; --": false, "body:café": false,
			"café OR thé": false, "NEAR(café vous)": false, "^": false, "&|!<->": false, "\\": false,
			strings.Repeat("café ", 20_000): true, strings.Repeat("x", 100_000): false,
		} {
			viewing(t, s, func(tx *storage.ReadTx) error {
				for _, byRank := range []bool{true, false} {
					hits, err := tx.Search(words, []int64{r.Row.NID}, byRank, math.MaxInt64, 10, 0)
					if err != nil || (len(hits) > 0) != found {
						t.Errorf("%.40q: %d hits, %v", words, len(hits), err)
					}
				}
				_, err := tx.CountHits(words, []int64{r.Row.NID}, 10)
				return err
			})
		}
	})
}
