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
		r.Message(aliceOne, "un café, s'il vous plaît \U0001F600 日本語")
		updating(t, s, func(tx *storage.Tx) error {
			_, err := tx.IndexNextForSearch(100)
			return err
		})
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

func TestTheIndexFollowsTheEvents(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := storagetest.NewRoom(t, s, "!r:one", aliceOne)
		hits := func(words string) (n int) {
			viewing(t, s, func(tx *storage.ReadTx) (err error) {
				n, err = tx.CountHits(words, []int64{r.Row.NID}, 10)
				return err
			})
			return n
		}
		last := r.Message(aliceOne, "one tomato")
		last = r.Message(aliceOne, "two tomatoes")
		updating(t, s, func(tx *storage.Tx) error {
			if later, err := tx.IndexForSearch(last); err != nil || !later {
				t.Errorf("an event at the end is indexed with its transaction: %v, %v", later, err)
			}
			return nil
		})
		rounds := 0
		for more := true; more; rounds++ {
			updating(t, s, func(tx *storage.Tx) (err error) {
				more, err = tx.IndexNextForSearch(2)
				return err
			})
		}
		viewing(t, s, func(tx *storage.ReadTx) error {
			waiting, err := tx.SearchBacklog()
			if waiting || err != nil {
				t.Errorf("after %d rounds the index has not seen everything, %v", rounds, err)
			}
			return nil
		})
		if hits("tomato") != 1 || hits("tomatoes") != 1 || rounds < 2 {
			t.Errorf("%d and %d events are found after %d rounds of two", hits("tomato"), hits("tomatoes"), rounds)
		}
		// What comes to the timeline from behind, as fetched history does, is not met again.
		old := last.Copy()
		old.NID, old.JSON = 1, []byte(`{"content":{"body":"ancient potato"}}`)
		updating(t, s, func(tx *storage.Tx) error {
			later, err := tx.IndexForSearch(old)
			if later {
				t.Error("an event behind what the index has seen is left for later")
			}
			return err
		})
		if hits("potato") != 1 {
			t.Error("an event behind what the index has seen is not found")
		}
	})
}
