package clientapi

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage/storagetest"
)

// everybody lets everybody in as alice.
type everybody struct{}

func (everybody) Authenticate(context.Context, string, string, *http.Request) (web.Caller, error) {
	return web.Caller{User: "@alice:hs", Device: "A"}, nil
}

// BenchmarkMessages reads pages of 100 messages out of 1,000 by 50 members; the target is 1 ms of CPU a page.
func BenchmarkMessages(b *testing.B) {
	store := storagetest.Open(b)
	room := storagetest.NewRoom(b, store, "!room:hs", "@alice:hs")
	var members []id.UserID
	for i := range 50 {
		members = append(members, id.UserID(fmt.Sprintf("@user%d:hs", i)))
		room.Member(members[i], members[i], "join")
	}
	for i := range 1000 {
		room.Message(members[i%50], fmt.Sprintf("This is message number %d of a conversation that has been going on for some time now.", i))
	}
	api := New(Deps{Store: store, Clock: clock.Real()})
	handler, err := web.New(web.Options{Auth: everybody{}}, api.messageRoutes(), api.roomStateRoutes())
	if err != nil {
		b.Fatal(err)
	}
	for _, test := range []struct{ name, path string }{
		{"last page", "/messages?dir=b&limit=100"},
		{"first page", "/messages?dir=f&limit=100"},
		{"with lazy-loading", "/messages?dir=b&limit=100&filter=" + "%7B%22lazy_load_members%22%3Atrue%7D"},
		{"limit 10", "/messages?dir=b&limit=10"},
		{"members", "/members"},
		{"state", "/state"},
		{"name", "/state/m.room.create"},
	} {
		b.Run(test.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				req := httptest.NewRequest("GET", "/_matrix/client/v3/rooms/!room:hs"+test.path, nil)
				req.Header.Set("Authorization", "Bearer x")
				rec := httptest.NewRecorder()
				handler.ServeHTTP(rec, req)
				if rec.Code != http.StatusOK {
					b.Fatal(rec.Code, rec.Body)
				}
			}
		})
	}
}
