package pusher

import (
	"context"
	"crypto/subtle"
	"errors"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/mail"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

const (
	// letterDelay is how long a message may be unread until a letter tells of it, and how often somebody looks for more until then.
	letterDelay = 10 * time.Minute
	// After a letter of a room of which nothing is read, the next one follows after firstLetterPause, and each more after three times as long, up
	// to longestLetterPause.
	firstLetterPause   = time.Hour
	longestLetterPause = 24 * time.Hour
	// A letter shows so many messages of a room, and of all rooms.
	maxRoomMessages   = 10
	maxLetterMessages = 50
	maxLetterText     = 200 // characters
)

// Pages are the URLs that letters lead to.
type Pages struct {
	Client string // a web client, without a slash at its end; empty: matrix.to
	Base   string // of this server, without a slash at its end
}

// UnsubscribePage is the path of the page that ends a pusher by e-mail.
const UnsubscribePage = "/_matrix/client/unstable/hearth/email/unsubscribe"

// check refuses pushers that could never be told anything.
func (s *Service) check(w Wish) error {
	if w.Kind == storage.PusherEmail {
		if !s.mail.Enabled() {
			return merr.New(merr.InvalidParam, "This server does not send e-mail")
		}
		return nil
	}
	return s.gateways.check(w)
}

// ownsAddress refuses an address that is not of the user's account.
func ownsAddress(tx *storage.ReadTx, user id.UserID, address string) error {
	owner, err := tx.ThreepidUser("email", address)
	if errors.Is(err, storage.ErrNotFound) || err == nil && owner != user {
		return merr.New(merr.ThreepidNotFound, "pushkey must be an e-mail address of the account")
	}
	return err
}

// letter is what a pusher by e-mail is told next.
type letter struct {
	digest mail.Digest
	told   []storage.MailTold
	rest   time.Duration // that has to pass before it is due; the digest is empty then
	full   bool          // more waits than is read
}

// missed is what is unread of a room.
type missed struct {
	room   *storage.Room
	since  int64 // when the first of it was queued, ms since the epoch
	told   storage.MailTold
	events []*storage.Event
}

// nextLetter is the letter of all that waits for a pusher, once something of it is due. What was read meanwhile nobody is told.
func (s *Service) nextLetter(tx *storage.ReadTx, p storage.Pusher) (*job, error) {
	rows, err := tx.PushQueue(p.ID, maxWaiting)
	if err != nil {
		return nil, err
	}
	j := &job{pusher: p, letter: &letter{full: len(rows) == maxWaiting}}
	told, err := tx.MailTold(p.ID)
	if err != nil {
		return nil, err
	}
	var rooms []*missed
	byRoom := map[int64]*missed{}
	for _, row := range rows {
		j.upTo = row.Pos
		e, err := tx.EventAt(row.Event)
		if errors.Is(err, storage.ErrNotFound) {
			j.moot++
			continue
		}
		if err != nil {
			return nil, err
		}
		gone, err := moot(tx, p.User, e)
		if err != nil {
			return nil, err
		}
		if gone {
			j.moot++
			continue
		}
		m := byRoom[e.Room]
		if m == nil {
			room, err := tx.RoomByNID(e.Room)
			if err != nil {
				return nil, err
			}
			m = &missed{room: room, since: row.TS, told: told[e.Room]}
			byRoom[e.Room], rooms = m, append(rooms, m)
		}
		m.events = append(m.events, e)
	}
	if len(rooms) == 0 || !s.mail.Enabled() {
		return j, nil
	}
	now := s.now()
	wait := letterDelay.Milliseconds()
	for i, m := range rooms {
		due, err := dueAt(tx, p.User, m)
		if err != nil {
			return nil, err
		}
		if left := due - now; i == 0 || left < wait {
			wait = left
		}
	}
	if wait > 0 {
		j.letter.rest = min(time.Duration(wait)*time.Millisecond, letterDelay)
		return j, nil
	}
	return j, s.compose(tx, j, rooms, now)
}

// dueAt is when a letter may tell of a room: some time after the first message, and after the last letter if nothing of that was read since.
func dueAt(tx *storage.ReadTx, user id.UserID, m *missed) (int64, error) {
	due := m.since + letterDelay.Milliseconds()
	if m.told.SentTS == 0 {
		return due, nil
	}
	receipts, err := tx.ReceiptsOf(m.room.NID, user)
	if err != nil {
		return 0, err
	}
	for _, r := range receipts {
		if r.At >= m.told.Pos {
			m.told = storage.MailTold{}
			return due, nil
		}
	}
	return max(due, m.told.SentTS+m.told.Pause), nil
}

// compose writes the letter and what is to be noted once it is sent.
func (s *Service) compose(tx *storage.ReadTx, j *job, rooms []*missed, now int64) error {
	pages := s.pages()
	l := j.letter
	l.digest.User = string(j.pusher.User)
	l.digest.Unsubscribe = pages.Base + UnsubscribePage + "?" + url.Values{"pusher": {strconv.FormatInt(j.pusher.ID, 10)}, "secret": {j.pusher.Secret}}.Encode()
	shown := 0
	for _, m := range rooms {
		note := storage.MailTold{Room: m.room.NID, SentTS: now, Pause: firstLetterPause.Milliseconds()}
		if m.told.Pause > 0 {
			note.Pause = min(3*m.told.Pause, longestLetterPause.Milliseconds())
		}
		room := mail.DigestRoom{Name: m.room.Summary.Name, Link: pages.room(m.room.ID)}
		for _, name := range []string{m.room.Summary.CanonicalAlias, string(m.room.ID)} {
			if room.Name == "" {
				room.Name = name
			}
		}
		for _, e := range m.events {
			note.Pos = max(note.Pos, e.Pos)
			if len(room.Messages) >= maxRoomMessages || shown >= maxLetterMessages {
				l.digest.More++
				continue
			}
			sender := string(e.Sender)
			member, err := tx.Membership(e.Room, e.Sender)
			if err != nil && !errors.Is(err, storage.ErrNotFound) {
				return err
			}
			if err == nil && member.Name != "" {
				sender = member.Name
			}
			room.Messages = append(room.Messages, mail.DigestMessage{Sender: brief(sender), Text: brief(say(e)), At: time.UnixMilli(e.TS)})
			shown++
		}
		l.told = append(l.told, note)
		l.digest.Rooms = append(l.digest.Rooms, room)
	}
	return nil
}

// room is the URL of a room.
func (p Pages) room(room id.RoomID) string {
	if p.Client == "" {
		return "https://matrix.to/#/" + url.PathEscape(string(room))
	}
	return p.Client + "/#/room/" + url.PathEscape(string(room))
}

// say is an event as a line of a letter. What is encrypted stays so.
func say(e *storage.Event) string {
	content := e.Content()
	switch e.Type {
	case "m.room.message", "m.sticker":
		text := gjson.GetBytes(content, "body").Str
		switch gjson.GetBytes(content, "msgtype").Str {
		case "m.image":
			return "(picture) " + text
		case "m.video":
			return "(video) " + text
		case "m.audio":
			return "(audio) " + text
		case "m.file":
			return "(file) " + text
		}
		return text
	case "m.room.encrypted":
		return "(encrypted message)"
	case "m.room.member":
		if gjson.GetBytes(content, "membership").Str == "invite" {
			return "(invitation)"
		}
	}
	return "(" + e.Type + ")"
}

// brief makes a line of at most maxLetterText characters.
func brief(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if utf8.RuneCountInString(text) <= maxLetterText {
		return text
	}
	return string([]rune(text)[:maxLetterText]) + "..."
}

// deliverLetter sends a letter that is due, removes what it was made of, and says how long to rest after it.
func (s *Service) deliverLetter(ctx context.Context, w *worker, j *job) time.Duration {
	l := j.letter
	if l.rest > 0 {
		if l.full {
			s.shorten(ctx, w)
		}
		return l.rest
	}
	if len(l.told) > 0 {
		switch err := s.mail.Digest(ctx, j.pusher.Pushkey, l.digest); {
		case err != nil && ctx.Err() != nil:
			return 0
		case errors.Is(err, mail.ErrRefused):
			s.metrics.requests.WithLabelValues(resultFailed).Inc()
			s.metrics.dropped.WithLabelValues("refused").Inc()
			s.log.Info("the relay refuses a letter for good", slog.String("user", string(j.pusher.User)), slog.Any("error", err))
		case err != nil:
			return s.failed(ctx, w, j, reply{err: err})
		default:
			s.metrics.requests.WithLabelValues(resultTold).Inc()
		}
		w.failures = 0
	}
	err := s.store.Update(context.WithoutCancel(ctx), func(tx *storage.Tx) error {
		if _, err := tx.Pusher(j.pusher.ID); errors.Is(err, storage.ErrNotFound) {
			return nil // it was ended meanwhile
		} else if err != nil {
			return err
		}
		for _, m := range l.told {
			if err := tx.SetMailTold(j.pusher.ID, m); err != nil {
				return err
			}
		}
		return tx.Pushed(j.pusher.ID, j.upTo)
	})
	if err != nil {
		s.log.Error("removing what a pusher was told failed", slog.Any("error", err))
		return storeRest
	}
	s.metrics.dropped.WithLabelValues("moot").Add(float64(j.moot))
	return 0
}

// Unsubscribe ends the pusher by e-mail that the link of a letter names. Doing it again is no error.
func (s *Service) Unsubscribe(ctx context.Context, pusher int64, secret string) error {
	return s.store.Update(ctx, func(tx *storage.Tx) error {
		p, err := tx.Pusher(pusher)
		if errors.Is(err, storage.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if p.Secret == "" || subtle.ConstantTimeCompare([]byte(p.Secret), []byte(secret)) != 1 {
			return merr.New(merr.TokenIncorrect, "The link is not right")
		}
		return tx.DeletePusher(p.User, p.AppID, p.Pushkey)
	})
}
