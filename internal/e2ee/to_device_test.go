package e2ee

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

func (s *server) send(txn string, messages Messages) {
	s.w.t.Helper()
	t := storage.Txn{User: alice, Device: "A", Endpoint: "PUT sendToDevice", ID: txn}
	if err := s.SendToDevice(context.Background(), t, "m.test", messages); err != nil {
		s.w.t.Fatal(err)
	}
}

// inbox is the contents of the messages that wait for a device, with their senders.
func (s *server) inbox(user id.UserID, device id.DeviceID) []string {
	s.w.t.Helper()
	out := []string{}
	s.view(func(tx *storage.ReadTx) error {
		list, _, err := tx.ToDevice(user, device, 0, 1000)
		for _, m := range list {
			out = append(out, string(m.Sender)+" "+m.Type+" "+string(m.Content))
		}
		return err
	})
	return out
}

func (s *server) expectInbox(user id.UserID, device id.DeviceID, want ...string) {
	s.w.t.Helper()
	if got := s.inbox(user, device); !slices.Equal(got, want) {
		s.w.t.Errorf("%s %s has %q", user, device, got)
	}
}

func TestMessagesToDevicesElsewhere(t *testing.T) {
	w := newWorld(t)
	here, there := w.here(), w.there()
	there.update(func(tx *storage.Tx) error {
		_, err := tx.InsertDevice(storage.Device{UserID: bob, ID: "B2"})
		return err
	})
	messages := Messages{
		bob:             {"B": json.RawMessage(`{"n":1}`), storage.AllDevices: json.RawMessage(`{"n":2}`)},
		carol:           {"C": json.RawMessage(`{"n":3}`), "gone": json.RawMessage(`{}`)},
		alice:           {"A": json.RawMessage(`{"n":4}`)},
		"@nobody:there": {"X": json.RawMessage(`{}`)},
		"rubbish":       {"X": json.RawMessage(`{}`)},
	}
	here.send("1", messages)
	here.send("1", messages)
	here.restart(Deps{})
	if got := here.deliver(func(r storage.Outgoing) bool {
		there.receive("here", r)
		return true // and once more
	}); !slices.Equal(got, []string{DirectToDevice}) {
		t.Errorf("sent %v", got)
	}
	there.expectInbox(bob, "B", `@alice:here m.test {"n":1}`)
	there.expectInbox(bob, "B2", `@alice:here m.test {"n":2}`)
	there.expectInbox(carol, "C", `@alice:here m.test {"n":3}`)
	here.expectInbox(alice, "A", `@alice:here m.test {"n":4}`)
}

func TestLargeMessagesAreSentInParts(t *testing.T) {
	s := &Service{server: "here", outbound: peer{}}
	large := json.RawMessage(`{"x":"` + strings.Repeat("x", 30<<10) + `"}`)
	devices := map[id.DeviceID]json.RawMessage{}
	for i := range 10 {
		devices[id.DeviceID(fmt.Sprint(i))] = large
	}
	for name, test := range map[string]struct {
		all  bool
		want int
	}{"to some devices": {false, 5}, "to all devices and to some others": {true, 1}} {
		t.Run(name, func(t *testing.T) {
			m := Messages{bob: devices}
			if test.all {
				m[bob] = map[id.DeviceID]json.RawMessage{storage.AllDevices: large}
				for d, c := range devices {
					m[bob][d] = c
				}
			}
			parts, err := s.parcels(alice, "m.test", map[id.ServerName][]id.UserID{"there": {bob}}, m)
			if err != nil || len(parts) != test.want {
				t.Fatalf("%d parts, %v", len(parts), err)
			}
			all := Messages{bob: {}}
			ids := map[string]bool{}
			for _, p := range parts {
				got, err := directMessageFrom("here", p.content)
				if err != nil {
					t.Fatal(err)
				}
				ids[got.ID] = true
				for d, c := range got.Messages[bob] {
					all[bob][d] = c
				}
			}
			if !reflect.DeepEqual(m, all) {
				t.Errorf("it became messages to %d devices", len(all[bob]))
			}
			if len(ids) != len(parts) {
				t.Errorf("the ids are %v", ids)
			}
		})
	}
}

func TestDirectMessageFrom(t *testing.T) {
	const good = `{"sender":"@bob:there","type":"m.t","message_id":"i","messages":{"@a:here":{"A":{}}}}`
	for name, test := range map[string]struct {
		from id.ServerName
		in   string
		code merr.Code
	}{
		"a message":                       {"there", good, ""},
		"one without messages":            {"there", `{"sender":"@bob:there","type":"m.t","message_id":"i"}`, ""},
		"one of a user of another server": {"elsewhere", good, merr.Forbidden},
		"one of nobody":                   {"there", `{"type":"m.t","message_id":"i","messages":{}}`, merr.InvalidParam},
		"one without a type":              {"there", `{"sender":"@bob:there","message_id":"i","messages":{}}`, merr.InvalidParam},
		"one without an id":               {"there", `{"sender":"@bob:there","type":"m.t","messages":{}}`, merr.InvalidParam},
		"a long id": {"there", `{"sender":"@bob:there","type":"m.t","message_id":"` + strings.Repeat("i", maxMessageID+1) + `"}`,
			merr.InvalidParam},
		"NUL in the type":               {"there", `{"sender":"@bob:there","type":"m\u0000","message_id":"i"}`, merr.InvalidParam},
		"a list of messages":            {"there", `{"sender":"@bob:there","type":"m.t","message_id":"i","messages":[]}`, merr.BadJSON},
		"a message that is a text":      {"there", strings.Replace(good, "{}", `"x"`, 1), merr.BadJSON},
		"a message that is null":        {"there", strings.Replace(good, "{}", `null`, 1), merr.BadJSON},
		"a message that is too long":    {"there", strings.Replace(good, "{}", `{"x":"`+strings.Repeat("x", maxObject)+`"}`, 1), merr.TooLarge},
		"a message that is not UTF-8":   {"there", strings.Replace(good, "{}", "{\"x\":\"\xff\"}", 1), merr.BadJSON},
		"something that is no object":   {"there", `[]`, merr.BadJSON},
		"something that is not JSON":    {"there", `{`, merr.BadJSON},
		"an empty message to a device":  {"there", `{"sender":"@bob:there","type":"m.t","message_id":"i","messages":{"@a:here":{"":{}}}}`, ""},
		"messages to something strange": {"there", `{"sender":"@bob:there","type":"m.t","message_id":"i","messages":{"x":{"A":{}}}}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := directMessageFrom(test.from, json.RawMessage(test.in))
			if test.code == "" && err != nil || test.code != "" && !merr.HasCode(err, test.code) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestClaimsElsewhere(t *testing.T) {
	w := newWorld(t)
	here, there := w.here(), w.there()
	there.upload(bob, "B", "one", "k1", "k2")
	here.upload(alice, "A", "one", "a1")
	ask := func(keys map[id.UserID]map[id.DeviceID]string) *ClaimAnswer {
		t.Helper()
		answer, err := here.ClaimKeys(context.Background(), keys, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	wanted := map[id.UserID]map[id.DeviceID]string{
		alice: {"A": DefaultAlgorithm}, bob: {"B": DefaultAlgorithm, "gone": DefaultAlgorithm}, carol: {"C": DefaultAlgorithm},
		"@x:nowhere": {"X": DefaultAlgorithm},
	}
	type keys = map[id.UserID]map[id.DeviceID]map[string]json.RawMessage
	key := func(name string) map[string]json.RawMessage {
		return map[string]json.RawMessage{"signed_curve25519:" + name: json.RawMessage(`{"key":"` + name + `","signatures":{}}`)}
	}
	for _, want := range []keys{{alice: {"A": key("a1")}, bob: {"B": key("k1")}}, {bob: {"B": key("k2")}}, {}} {
		answer := ask(wanted)
		if diff := cmp.Diff(want, answer.OneTimeKeys); diff != "" {
			t.Error(diff)
		}
		if len(answer.Failures) != 1 || answer.Failures["nowhere"] == nil {
			t.Errorf("failures: %v", answer.Failures)
		}
	}
}

func TestParseClaimed(t *testing.T) {
	wishes := []wish{{bob, "B", "alg"}}
	for name, test := range map[string]struct{ in, want string }{
		"a key":                        {`{"alg:1":{"key":"x"}}`, "1"},
		"a key that is a text":         {`{"alg:1":"x"}`, "1"},
		"no key":                       {`{}`, ""},
		"two keys":                     {`{"alg:1":{},"alg:2":{}}`, ""},
		"one of another algorithm":     {`{"other:1":{}}`, ""},
		"one without a name":           {`{"alg:":{}}`, ""},
		"one that is a number":         {`{"alg:1":1}`, ""},
		"something that is no object":  {`[]`, ""},
		"a key that is longer than 64": {`{"alg:1":"` + strings.Repeat("x", maxObject) + `"}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseClaimed(json.RawMessage(`{"one_time_keys":{"@bob:there":{"B":`+test.in+`}}}`), wishes)
			if err != nil || len(got) != 1 || got[0].ID != test.want {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
	if got, err := parseClaimed(json.RawMessage(`{"one_time_keys":{"@bob:there":7,"@x:y":{"B":{"alg:1":{}}}}}`), wishes); err != nil || got[0].ID != "" {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := parseClaimed(json.RawMessage(`{`), wishes); err == nil {
		t.Error("an answer that is not JSON was read")
	}
}

func TestMessagesToNobodyLeaveNoTrace(t *testing.T) {
	w := newWorld(t)
	there := w.there()
	send := func(device id.DeviceID) error {
		text, err := json.Marshal(directMessage{alice, "m.test", "1", Messages{bob: {device: json.RawMessage(`{}`)}}})
		if err != nil {
			t.Fatal(err)
		}
		return there.ReceiveToDevice(t.Context(), "here", text)
	}
	if err := send("gone"); !merr.HasCode(err, merr.NotFound) {
		t.Errorf("to a device that is not there: %v", err)
	}
	for range 2 { // under the same id: it was not noted before, and is now
		if err := send("B"); err != nil {
			t.Error(err)
		}
	}
	there.expectInbox(bob, "B", "@alice:here m.test {}")
}

func TestFullInboxes(t *testing.T) {
	w := newWorld(t)
	here := w.here()
	here.account("@dora:here", "D", "E")
	message := json.RawMessage(`{"x":"` + strings.Repeat("x", 1000) + `"}`)
	here.maxInbox = 2000 // that is two of them
	txn := 0
	send := func(device id.DeviceID) error {
		txn++
		return here.SendToDevice(t.Context(), storage.Txn{User: alice, Device: "A", Endpoint: "x", ID: fmt.Sprint(txn)}, "m.test",
			Messages{"@dora:here": {device: message}})
	}
	waiting := func(want map[id.DeviceID]int) {
		t.Helper()
		for device, n := range want {
			var list []storage.DeviceMessage
			here.view(func(tx *storage.ReadTx) (err error) {
				list, _, err = tx.ToDevice("@dora:here", device, 0, 100)
				return err
			})
			if len(list) != n {
				t.Errorf("%d messages wait for %s, not %d", len(list), device, n)
			}
		}
	}
	good := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	good(send("D"))
	good(send("D"))
	good(send("D")) // it was never seen, and has enough
	waiting(map[id.DeviceID]int{"D": 2, "E": 0})
	good(send(storage.AllDevices)) // the others get theirs
	waiting(map[id.DeviceID]int{"D": 2, "E": 1})

	good(send(storage.AllDevices)) // nobody is held up by D
	waiting(map[id.DeviceID]int{"D": 2, "E": 2})
	text, err := json.Marshal(directMessage{bob, "m.test", "1", Messages{"@dora:here": {"E": message}}})
	good(err)
	if err := here.ReceiveToDevice(t.Context(), "there", text); !merr.HasCode(err, merr.NotFound) {
		t.Errorf("another server hears %v", err)
	}
	waiting(map[id.DeviceID]int{"D": 2, "E": 2})

	// There is room again for who comes back.
	here.update(func(tx *storage.Tx) error {
		pos, err := tx.Position()
		if err != nil {
			return err
		}
		return tx.AckToDevice("@dora:here", "E", pos)
	})
	good(send("E"))
	waiting(map[id.DeviceID]int{"D": 2, "E": 1})
}
