package storage_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

func TestInboxPlacesDoNotPartAPosition(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		const a, b id.UserID = "@a:hs", "@b:hs"
		var at []int64
		err := s.Update(t.Context(), func(tx *storage.Tx) error {
			if next, err := tx.NextForDevices(0); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("%d, %v", next, err)
			}
			for _, u := range []id.UserID{a, b} {
				if _, err := tx.InsertUser(storage.User{ID: u}); err != nil {
					return err
				}
				if _, err := tx.InsertDevice(storage.Device{UserID: u, ID: "D"}); err != nil {
					return err
				}
			}
			for range 3 {
				pos, err := tx.NextPos()
				if err != nil {
					return err
				}
				at = append(at, pos)
				for _, u := range []id.UserID{a, b} {
					m := storage.DeviceMessage{Pos: pos, Sender: a, Type: "t", Content: json.RawMessage(`{}`)}
					if _, err := tx.SendToDevice(u, "D", m); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		all := []storage.InboxPlace{{a, "D", at[0]}, {b, "D", at[0]}, {a, "D", at[1]}, {b, "D", at[1]}, {a, "D", at[2]}, {b, "D", at[2]}}
		tests := map[string]struct {
			span  storage.Span
			limit int
			want  []storage.InboxPlace
			end   int64
		}{
			"all of them":            {storage.Span{After: 0, UpTo: at[2] + 10}, 100, all, at[2] + 10},
			"the limit in a group":   {storage.Span{After: 0, UpTo: at[2] + 10}, 3, all[:4], at[1]},
			"the limit at the start": {storage.Span{After: 0, UpTo: at[2]}, 1, all[:2], at[0]},
			"the end of the span":    {storage.Span{After: at[0], UpTo: at[1]}, 100, all[2:4], at[1]},
			"nothing":                {storage.Span{After: at[2], UpTo: at[2] + 1}, 100, []storage.InboxPlace{}, at[2] + 1},
		}
		for name, tt := range tests {
			t.Run(name, func(t *testing.T) {
				err := s.View(t.Context(), func(tx *storage.ReadTx) error {
					got, end, err := tx.InboxPlaces(tt.span, tt.limit)
					if d := cmp.Diff(tt.want, got); d != "" || end != tt.end {
						t.Errorf("up to %d: %s", end, d)
					}
					if next, other := tx.NextForDevices(0); next != at[0] {
						t.Errorf("next at %d, %v", next, other)
					}
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
			})
		}
		err = s.Update(t.Context(), func(tx *storage.Tx) error { return tx.DeleteMessages(all[:5]) })
		if err != nil {
			t.Fatal(err)
		}
		if err := s.View(t.Context(), func(tx *storage.ReadTx) error {
			if _, err := tx.MessageAt(all[0]); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("%v", err)
			}
			m, err := tx.MessageAt(all[5])
			if m.Sender != a || m.Type != "t" {
				t.Errorf("%+v", m)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	})
}
