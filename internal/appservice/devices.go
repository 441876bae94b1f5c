package appservice

import (
	"encoding/json"
	"errors"
	"maps"
	"math"
	"slices"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// maxMessages is after how many messages to devices a transaction is full.
const maxMessages = 100

// usualAlgorithm is that of one-time keys which is always counted: whoever is not told that none are left uploads none.
const usualAlgorithm = "signed_curve25519"

// deviceNews is the part of a transaction that is about devices, for application services that encrypt. Servers and application services in
// use know it by the names of the drafts; the others are those that it is to have.
//
// Spec: MSC4203 (to_device), MSC3202 (the rest)
type deviceNews struct {
	Messages       []addressed                                `json:"to_device,omitempty"`
	LegacyMessages []addressed                                `json:"de.sorunome.msc2409.to_device,omitempty"`
	Lists          *deviceLists                               `json:"device_lists,omitempty"`
	LegacyLists    *deviceLists                               `json:"org.matrix.msc3202.device_lists,omitempty"`
	Counts         map[id.UserID]map[id.DeviceID]oneTimeCount `json:"device_one_time_keys_count,omitempty"`
	LegacyCounts   map[id.UserID]map[id.DeviceID]oneTimeCount `json:"org.matrix.msc3202.device_one_time_keys_count,omitempty"`
	Fallback       map[id.UserID]map[id.DeviceID][]string     `json:"device_unused_fallback_key_types,omitempty"`
	LegacyFallback map[id.UserID]map[id.DeviceID][]string     `json:"org.matrix.msc3202.device_unused_fallback_key_types,omitempty"`
}

// addressed is a message to a device with its address.
type addressed struct {
	User    id.UserID       `json:"to_user_id"`
	Device  id.DeviceID     `json:"to_device_id"`
	Sender  id.UserID       `json:"sender"`
	Type    string          `json:"type"`
	Content json.RawMessage `json:"content"`
}

type deviceLists struct {
	Changed []id.UserID `json:"changed"`
	Left    []id.UserID `json:"left"`
}

// oneTimeCount is how many one-time keys a device has left, by algorithm.
type oneTimeCount map[string]int

// messages is where the messages to devices of the application service's users within a span are. The span may end early, as
// storage.ReadTx.InboxPlaces has it.
func (w *worker) messages(tx *storage.ReadTx, span storage.Span, limit int) ([]storage.InboxPlace, int64, error) {
	places, end, err := tx.InboxPlaces(span, limit)
	return slices.DeleteFunc(places, func(p storage.InboxPlace) bool { return !w.to.HasUser(p.User) }), end, err
}

// lookForDevices adds to a batch what has become of devices and their keys within a span.
func (w *worker) lookForDevices(tx *storage.ReadTx, b *batch, span storage.Span) error {
	claimed, err := w.claimed(tx, span)
	if err != nil {
		return err
	}
	b.claimed = b.claimed || len(claimed) > 0
	if err := b.company.devices(tx, span); err != nil {
		return err
	}
	b.lists, err = b.company.lists(tx)
	return err
}

// claimed is the devices of the application service's users of which keys were claimed.
func (w *worker) claimed(tx *storage.ReadTx, span storage.Span) ([]storage.DeviceName, error) {
	devices, err := tx.ClaimedDevices(span)
	return slices.DeleteFunc(devices, func(d storage.DeviceName) bool { return !w.to.HasUser(d.User) }), err
}

// deviceNews is what the transaction under way says of devices, and where the messages in it are. How many keys are left is as of now.
func (w *worker) deviceNews(tx *storage.ReadTx) (out deviceNews, places []storage.InboxPlace, err error) {
	span := storage.Span{After: w.cursor.Pos, UpTo: w.cursor.UpTo}
	if w.to.wantsMessages() {
		if places, _, err = w.messages(tx, span, math.MaxInt32); err != nil {
			return out, nil, err
		}
	}
	for _, p := range places {
		m, err := tx.MessageAt(p)
		if errors.Is(err, storage.ErrNotFound) {
			continue
		}
		if err != nil {
			return out, nil, err
		}
		out.Messages = append(out.Messages, addressed{p.User, p.Device, m.Sender, m.Type, m.Content})
	}
	out.LegacyMessages = out.Messages
	if !w.to.Encrypted {
		return out, places, nil
	}
	if lists := w.cursor.Lists; !lists.IsEmpty() {
		out.Lists = &deviceLists{append([]id.UserID{}, lists.Changed...), append([]id.UserID{}, lists.Left...)}
		out.LegacyLists = out.Lists
	}
	claimed, err := w.claimed(tx, span)
	if err != nil || len(claimed) == 0 {
		return out, places, err
	}
	out.Counts, out.Fallback = map[id.UserID]map[id.DeviceID]oneTimeCount{}, map[id.UserID]map[id.DeviceID][]string{}
	for _, d := range claimed {
		known, err := tx.KeyCounts(d.User, d.Device)
		if err != nil {
			return out, nil, err
		}
		if out.Counts[d.User] == nil {
			out.Counts[d.User], out.Fallback[d.User] = map[id.DeviceID]oneTimeCount{}, map[id.DeviceID][]string{}
		}
		count := oneTimeCount{usualAlgorithm: 0}
		maps.Copy(count, known.OneTime)
		out.Counts[d.User][d.Device], out.Fallback[d.User][d.Device] = count, append([]string{}, known.Fallback...)
	}
	out.LegacyCounts, out.LegacyFallback = out.Counts, out.Fallback
	return out, places, nil
}

// finished is those of the messages of a delivered transaction that nobody else will fetch. An application service that does not encrypt by
// what it is sent, or does not have the user for itself, gets copies: the device fetches them by syncing.
//
// Spec: MSC4203
func (w *worker) finished(messages []storage.InboxPlace) []storage.InboxPlace {
	if !w.to.Encrypted {
		return nil
	}
	return slices.DeleteFunc(messages, func(p storage.InboxPlace) bool { return !w.to.OwnsUser(p.User) })
}
