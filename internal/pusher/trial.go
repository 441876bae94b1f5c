package pusher

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/admin"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/push"
	"github.com/hearthd/hearth/storage"
)

// gatewayOf is the URL of a pusher's gateway.
func gatewayOf(p storage.Pusher) string { return gjson.GetBytes(p.Data, "url").Str }

// Test tells all pushers of a user at once, whatever waits for them, of a message that there is not, and says what their gateways make of it.
// A pusher that is rejected is removed as always.
func (s *Service) Test(ctx context.Context, user id.UserID) ([]admin.PushTrial, error) {
	var pushers []storage.Pusher
	var unread int64
	err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		if pushers, err = tx.PushersOf(user); err == nil {
			unread, err = tx.UnreadTotal(user)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	out := []admin.PushTrial{}
	for _, p := range pushers {
		if p.Kind == storage.PusherEmail {
			out = append(out, s.testLetter(ctx, p))
			continue
		}
		body, err := testNotification(p, unread).body()
		if err != nil {
			return nil, err
		}
		began := s.clock.Now()
		trial := admin.PushTrial{App: p.AppID, Device: p.DeviceName, Gateway: gatewayOf(p)}
		switch r := s.gateways.post(ctx, trial.Gateway, p.Pushkey, body); {
		case r.err != nil:
			trial.Problem = r.err.Error()
		case r.rejected:
			trial.Problem = "the gateway has rejected the pushkey; the pusher was removed"
			s.rejected(ctx, p)
		default:
			trial.Took = s.clock.Now().Sub(began).Round(time.Millisecond)
		}
		out = append(out, trial)
	}
	return out, nil
}

// testLetter sends a letter that says only that letters arrive.
func (s *Service) testLetter(ctx context.Context, p storage.Pusher) admin.PushTrial {
	trial := admin.PushTrial{App: p.AppID, Device: p.DeviceName, Gateway: "mailto:" + p.Pushkey}
	if !s.mail.Enabled() {
		trial.Problem = "this server does not send e-mail"
		return trial
	}
	began := s.clock.Now()
	if err := s.mail.Trial(ctx, p.Pushkey); err != nil {
		trial.Problem = err.Error()
	}
	trial.Took = s.clock.Now().Sub(began).Round(time.Millisecond)
	return trial
}

// testNotification is like one of a message that nobody has sent. Its ids are new, so that nobody takes it for an old one.
func testNotification(p storage.Pusher, unread int64) *notification {
	n := forPusher(p, unread)
	n.Prio = high
	n.Event, n.Room = id.EventID("$hearth-push-test-"+rand.Text()), id.RoomID("!hearth-push-test:"+string(p.User.Server()))
	if gjson.GetBytes(p.Data, "format").Str == formatEventIDOnly {
		return n
	}
	n.Type, n.Sender, n.SenderName, n.RoomName = "m.room.message", p.User, "Hearth", "Hearth"
	n.Content = json.RawMessage(`{"msgtype":"m.text","body":"This is a test notification of your server."}`)
	n.Devices[0].Tweaks = push.Tweaks(json.RawMessage(`[{"set_tweak":"sound","value":"default"}]`))
	return n
}

// Console is the service as the command line sees it: users are named by a full id or the localpart.
type Console struct {
	Service *Service
	// Find is the id of a user of this server, by a name of either kind.
	Find func(ctx context.Context, name string) (id.UserID, error)
}

var _ admin.Pushers = Console{}

// TestPushers tells all pushers of a user of a message that there is not.
func (c Console) TestPushers(ctx context.Context, name string) ([]admin.PushTrial, error) {
	user, err := c.Find(ctx, name)
	if err != nil {
		return nil, err
	}
	out, err := c.Service.Test(ctx, user)
	if err != nil {
		return nil, fmt.Errorf("test the pushers of %s: %w", user, err)
	}
	return out, nil
}
