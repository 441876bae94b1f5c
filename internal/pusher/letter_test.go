package pusher

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/mail"
	"github.com/hearthd/hearth/internal/mail/mailtest"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

const address = "alice@example.org"

// mailRig is a rig whose service sends mail, and alice has an address.
type mailRig struct {
	*rig
	relay *mailtest.Relay
}

func newMailRig(t *testing.T, s *storage.Store) *mailRig {
	t.Helper()
	r := &mailRig{newRig(t, s), mailtest.Start(t, config.EmailNoTLS)}
	cfg := config.Default()
	cfg.Server.Name, cfg.Email = "one", r.relay.Config()
	sender, err := mail.New(config.NewLive(cfg), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.service.mail = sender
	r.service.pages = func() Pages { return Pages{Base: "https://one.example"} }
	r.update(func(tx *storage.Tx) error {
		_, err := tx.InsertThreepid(alice, storage.Threepid{Medium: "email", Address: address, ValidatedTS: 1, AddedTS: 1})
		return err
	})
	return r
}

func emailWish(t *testing.T, pushkey string) Wish {
	t.Helper()
	w, err := ParseWish([]byte(`{"kind":"email","app_id":"m.email","pushkey":"` + pushkey + `","app_display_name":"Mail","device_display_name":"Mail","lang":"en","data":{}}`))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (r *mailRig) subscribe() storage.Pusher {
	r.t.Helper()
	if err := r.service.Set(context.Background(), alice, phone, emailWish(r.t, "Alice@Example.org")); err != nil {
		r.t.Fatal(err)
	}
	list, err := r.service.List(context.Background(), alice)
	if err != nil || len(list) != 1 {
		r.t.Fatalf("pushers %v, %v", list, err)
	}
	return list[0]
}

func TestLettersComeEverMoreRarelyUntilSomethingIsRead(t *testing.T) {
	r := newMailRig(t, storagetest.Open(t))
	p := r.subscribe()
	check(t, "pushkey and device", address+" ", p.Pushkey+" "+string(p.Device))
	r.push("one")
	r.clock.BlockUntil(1)
	r.push("<b>two</b>")
	r.pass(letterDelay)
	l := r.relay.Next()
	check(t, "recipient", address, l.To)
	if !strings.Contains(l.Text, "one") || !strings.Contains(l.HTML, "&lt;b&gt;two&lt;/b&gt;") || !strings.HasPrefix(l.Subject, "2 messages in") {
		t.Errorf("%s: %s", l.Subject, l.Text)
	}
	r.idle()
	for _, pause := range []time.Duration{firstLetterPause, 3 * firstLetterPause, 9 * firstLetterPause, longestLetterPause, longestLetterPause} {
		r.push("again")
		for passed := time.Duration(0); passed < pause; passed += letterDelay {
			r.relay.Empty()
			r.pass(letterDelay)
		}
		r.relay.Next()
		r.idle()
	}
	// What is read starts it anew.
	read := r.push("read")
	r.clock.BlockUntil(1)
	r.read(read)
	r.pass(letterDelay)
	r.idle()
	r.relay.Empty()
	check(t, "rows", 0, r.rows())
	r.push("fresh")
	r.pass(letterDelay)
	if l := r.relay.Next(); !strings.Contains(l.Text, "fresh") || strings.Contains(l.Text, "again") {
		t.Errorf("got %s", l.Text)
	}
}

func TestALetterThatCannotBeSentIsTriedAgain(t *testing.T) {
	r := newMailRig(t, storagetest.Open(t))
	r.subscribe()
	r.relay.Refuse(&smtp.SMTPError{Code: 451, Message: "later"})
	r.push("one")
	r.pass(letterDelay)
	r.clock.BlockUntil(1)
	check(t, "rows", 1, r.rows())
	r.relay.Refuse(nil)
	r.pass(firstPause)
	r.relay.Next()
	r.idle()
	r.relay.Refuse(&smtp.SMTPError{Code: 550, Message: "never"})
	r.push("two")
	for range int(firstLetterPause / letterDelay) {
		r.pass(letterDelay)
	}
	r.idle()
	check(t, "rows", 0, r.rows())
}

func TestTheLinkOfALetterEndsThem(t *testing.T) {
	r := newMailRig(t, storagetest.Open(t))
	p := r.subscribe()
	if err := r.service.Unsubscribe(t.Context(), p.ID, "guess"); !merr.HasCode(err, merr.TokenIncorrect) {
		t.Errorf("got %v", err)
	}
	again := r.subscribe()
	check(t, "the secret of a pusher that is set again", p.Secret, again.Secret)
	for range 2 {
		if err := r.service.Unsubscribe(t.Context(), p.ID, p.Secret); err != nil {
			t.Error(err)
		}
	}
	check(t, "apps", []string(nil), r.apps(alice))
	r.set(alice, "app", "")
	list, err := r.service.List(t.Context(), alice)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.service.Unsubscribe(t.Context(), list[0].ID, ""); !merr.HasCode(err, merr.TokenIncorrect) {
		t.Errorf("a phone is unsubscribed: %v", err)
	}
}

func TestLettersGoToOwnAddressesAlone(t *testing.T) {
	r := newMailRig(t, storagetest.Open(t))
	if err := r.service.Set(t.Context(), bob, phone, emailWish(t, address)); !merr.HasCode(err, merr.ThreepidNotFound) {
		t.Errorf("bob: got %v", err)
	}
	r.service.mail = nil
	if err := r.service.Set(t.Context(), alice, phone, emailWish(t, address)); !merr.HasCode(err, merr.InvalidParam) {
		t.Errorf("without mail: got %v", err)
	}
}

func TestWhatLettersSay(t *testing.T) {
	r := newMailRig(t, storagetest.Open(t))
	for _, test := range []struct{ typ, content, want string }{
		{"m.room.message", `{"msgtype":"m.text","body":"hello\nthere"}`, "hello\nthere"},
		{"m.room.message", `{"msgtype":"m.image","body":"cat.png"}`, "(picture) cat.png"},
		{"m.room.encrypted", `{"ciphertext":"abc","body":"secret"}`, "(encrypted message)"},
		{"m.poll.start", `{}`, "(m.poll.start)"},
	} {
		e := r.Event(bob, test.typ, test.content)
		check(t, test.typ, test.want, say(e))
	}
	check(t, "a long line", strings.Repeat("ü", maxLetterText)+"...", brief(strings.Repeat("ü", 300)))
	check(t, "lines", "a b", brief(" a\r\n b"))
	check(t, "the page of a room", "https://app.example/#/room/%21r:one", Pages{Client: "https://app.example"}.room("!r:one"))
}
