package hearthtest_test

import (
	"errors"
	"net/http"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/matrix-org/gomatrixserverlib"

	"github.com/hearthd/hearth/internal/hearthtest"
	"github.com/hearthd/hearth/internal/id"
)

func TestRemotesTalkInEveryRoomVersion(t *testing.T) {
	t.Parallel()
	for n := range 12 {
		version := gomatrixserverlib.RoomVersion(strconv.Itoa(n + 1))
		t.Run("version "+string(version), func(t *testing.T) {
			t.Parallel()
			net := hearthtest.NewNetwork(t)
			a, b := net.Remote(), net.Remote()
			alice, bob := a.User("alice"), b.User("bob")
			room := a.CreateRoom(alice, string(version))
			there := b.Join(room.ID, bob, a.Name)
			room.Say(alice, "hi")
			there.WaitForText("hi")
			said := there.Say(bob, "hello").ID
			room.WaitFor(said)
			if diff := cmp.Diff(room.Tips(), there.Tips()); diff != "" {
				t.Errorf("the rooms have different ends (-a +b):\n%s", diff)
			}
			there.SetMembership(bob, bob, "leave")
			room.WaitForMembership(bob, "leave")

			// What gomatrixserverlib makes of the events is what is sent.
			impl := gomatrixserverlib.MustGetRoomVersion(version)
			for _, raw := range room.Stripped() {
				pdu, err := impl.NewEventFromUntrustedJSON(raw)
				if err != nil || pdu.Redacted() {
					t.Errorf("%s: %v, redacted: %t", raw, err, pdu.Redacted())
				}
			}
			if pdu, err := impl.NewEventFromUntrustedJSON(room.WaitFor(said).Raw); err != nil || pdu.EventID() != string(said) {
				t.Errorf("the message has the id %s for gomatrixserverlib (%v), and %s here", pdu.EventID(), err, said)
			}
		})
	}
}

func TestARemoteAnswersWhatIsScripted(t *testing.T) {
	t.Parallel()
	net := hearthtest.NewNetwork(t)
	a, b := net.Remote(), net.Remote()
	alice := a.User("alice")
	room := a.CreateRoom(alice, "11")
	alias := a.Alias("kitchen", room.ID)
	query := "v1/query/directory?room_alias=%23kitchen%3A" + string(alias.Server())
	if got := b.Get(a.Name, query).Get("room_id").Str; got != string(room.ID) {
		t.Errorf("the alias leads to %s", got)
	}
	a.On("directory", func(q *hearthtest.Request) hearthtest.Reply {
		if q.Origin != b.Name || q.Honest().Status != http.StatusOK {
			t.Errorf("%s asks", q.Origin)
		}
		return hearthtest.Fails(http.StatusTeapot, "M_TEAPOT")
	})
	b.Refused("GET", a.Name, query, nil, http.StatusTeapot, "M_TEAPOT")
	a.On("directory", nil)
	b.Get(a.Name, query)
	if diff := cmp.Diff([]string{"directory", "directory", "directory"}, a.Asked()); diff != "" {
		t.Errorf("what was asked:\n%s", diff)
	}
}

func TestEventsOfARemoteAreWhatTheTestMakesOfThem(t *testing.T) {
	t.Parallel()
	net := hearthtest.NewNetwork(t)
	a := net.Remote()
	alice := a.User("alice")
	room := a.CreateRoom(alice, "11")
	p := room.Make(hearthtest.Draft{
		Type: "m.room.message", Sender: alice, Content: hearthtest.Fields{"body": "hi"}, Prev: []id.EventID{},
		Edit:  func(e map[string]any) { e["depth"] = 7 },
		Forge: func(e map[string]any) { e["content"] = hearthtest.Fields{"body": "ho"} },
	})
	if len(p.Prev()) != 0 || p.Depth() != 7 || p.At("content", "body").Str != "ho" || len(p.Auth()) != 3 {
		t.Errorf("the event is %s", p.Raw)
	}
	if diff := cmp.Diff([]id.EventID{room.State("m.room.join_rules", "").ID}, room.Tips()); diff != "" {
		t.Errorf("it is in the room: %s", diff)
	}
}

func TestLinksCanBeCut(t *testing.T) {
	t.Parallel()
	net := hearthtest.NewNetwork(t)
	a, b, c := net.Remote(), net.Remote(), net.Remote()
	asks := func(from, to *hearthtest.Remote) bool {
		t.Helper()
		_, err := from.Try("GET", to.Name, "v1/version", nil)
		return err == nil
	}
	held := make(chan struct{})
	b.On("version", func(q *hearthtest.Request) hearthtest.Reply {
		close(held)
		<-q.Context().Done()
		return hearthtest.OK(nil)
	})
	broken := make(chan error)
	go func() {
		_, err := a.Try("GET", b.Name, "v1/version", nil)
		broken <- err
	}()
	<-held
	b.On("version", nil)
	net.Cut(b.Name, a.Name)
	if err := <-broken; err == nil {
		t.Error("a request under way when the link was cut got an answer")
	}
	if asks(a, b) || asks(b, a) {
		t.Error("the link is there though it was cut")
	}
	if !asks(a, c) || !asks(c, b) {
		t.Error("another link is gone")
	}
	net.Heal(a.Name, b.Name)
	if got := b.Requests("send"); len(got) != 1 || got[0].Origin != a.Name {
		t.Errorf("%s heard of the healing: %v", b.Name, got)
	}
	if !asks(a, b) || !asks(b, a) {
		t.Error("the link is still cut")
	}
	net.CutAll(c.Name)
	if asks(a, c) || asks(c, b) || !asks(a, b) {
		t.Error("the wrong links were cut")
	}
	net.Mend()
	net.Split([]id.ServerName{a.Name}, []id.ServerName{b.Name, c.Name})
	if asks(a, b) || asks(c, a) || !asks(c, b) {
		t.Error("the network is not split")
	}
}

func TestNamesOfANetwork(t *testing.T) {
	t.Parallel()
	net := hearthtest.NewNetwork(t)
	a := net.Remote()
	socket := net.Socket("elsewhere")
	if addrs, err := socket.LookupNetIP(t.Context(), "ip", string(a.Name)); err != nil || len(addrs) != 1 {
		t.Errorf("%s is at %v, %v", a.Name, addrs, err)
	} else if conn, err := socket.DialContext(t.Context(), "tcp", addrs[0].String()+":8448"); err != nil {
		t.Errorf("dial %s: %v", addrs[0], err)
	} else if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if _, err := socket.LookupNetIP(t.Context(), "ip", "nowhere"); err == nil {
		t.Error("a name is found that nobody has")
	}
	if _, err := socket.DialContext(t.Context(), "tcp", "127.0.0.1:8448"); !errors.Is(err, hearthtest.ErrRefused) {
		t.Errorf("an address outside the network: %v", err)
	}
}
