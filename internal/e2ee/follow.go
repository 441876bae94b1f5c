package e2ee

import (
	"bytes"
	"context"
	"encoding/json"

	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// ReceiveDeviceList takes an m.device_list_update of another server. Where something is missing before it, the list is fetched again in
// the background, and our users hear of what has changed then.
//
// Spec: server-server-api#device-management
func (s *Service) ReceiveDeviceList(ctx context.Context, origin id.ServerName, content json.RawMessage) error {
	u, err := listUpdateFrom(origin, content)
	if err != nil {
		return err
	}
	return s.store.Update(ctx, func(tx *storage.Tx) error {
		list, err := s.hearOf(tx, u.user, u.keys != nil || u.deleted)
		switch {
		case err != nil || !list.Usable() || u.stream == list.Version:
			return err
		case !continues(u.prev, list.Version):
			return s.resyncNow(tx, u.user)
		}
		return s.applyUpdate(tx, u)
	})
}

// ReceiveSigningKeys takes an m.signing_key_update of another server.
//
// Spec: server-server-api#msigning_key_update
func (s *Service) ReceiveSigningKeys(ctx context.Context, origin id.ServerName, content json.RawMessage) error {
	user, keys, err := signingUpdateFrom(origin, content)
	if err != nil || len(keys) == 0 {
		return err
	}
	return s.store.Update(ctx, func(tx *storage.Tx) error {
		list, err := s.hearOf(tx, user, true)
		if err != nil || !list.Usable() {
			return err
		}
		old, err := tx.RemoteCrossSigningKeys([]id.UserID{user})
		if err != nil {
			return err
		}
		// Under another master key the other keys mean nothing; under the same one, those that are not mentioned stay.
		master := publicMaster(old)
		if now := publicMaster(keys); now == "" || now == master {
			keys = merge(old, keys)
		}
		differs, err := writeCrossSigning(tx, old, keys)
		if err != nil || !differs {
			return err
		}
		_, err = s.changed(tx, user)
		return err
	})
}

// hearOf looks up the list that an update is about. If nobody here has it, there is nothing to apply the update to: whoever may have asked in
// vain for it is told that it is worth another try, provided that there is news. A stale list is fetched now.
func (s *Service) hearOf(tx *storage.Tx, user id.UserID, news bool) (*storage.RemoteList, error) {
	lists, err := tx.RemoteLists([]id.UserID{user})
	if err != nil {
		return nil, err
	}
	list := lists[user]
	if !list.Followed {
		return list, nil
	}
	if err := tx.HearOfRemoteList(user); err != nil {
		return nil, err
	}
	switch {
	case !list.Current && news:
		_, err = s.changed(tx, user)
	case list.Current && list.Stale:
		err = s.resyncNow(tx, user)
	}
	return list, err
}

// resyncNow marks a list as stale and has it fetched.
func (s *Service) resyncNow(tx *storage.Tx, user id.UserID) error {
	tx.OnCommit(func() { s.hub.Wake(resyncs) })
	return tx.PostponeResync(user, 0, s.clock.Now().UnixMilli())
}

// continues reports whether all predecessors of an update are in the list.
func continues(prev []int64, version int64) bool {
	for _, p := range prev {
		if p != version {
			return false
		}
	}
	return len(prev) > 0 && version != 0
}

func (s *Service) applyUpdate(tx *storage.Tx, u *remoteUpdate) error {
	old, err := tx.RemoteDevices([]id.UserID{u.user})
	if err != nil {
		return err
	}
	now := make([]storage.DeviceKeys, 0, len(old)+1)
	for _, d := range old {
		if d.Device != u.device {
			now = append(now, d)
		}
	}
	if u.keys != nil && len(now) < maxRemoteDevices {
		now = append(now, *u.keys)
	}
	differs, err := writeDevices(tx, old, now)
	if err != nil {
		return err
	}
	if err := tx.SetRemoteVersion(u.user, u.stream); err != nil || !differs {
		return err
	}
	_, err = s.changed(tx, u.user)
	return err
}

// keepList stores a list that has been fetched. before is what was known of it then, and pos where the stream was. If something has been heard
// of the list meanwhile, it may or may not be in it, so it is fetched again.
func (s *Service) keepList(tx *storage.Tx, before *storage.RemoteList, keys *userKeys, pos int64) error {
	user := before.User
	lists, err := tx.RemoteLists([]id.UserID{user})
	if err != nil {
		return err
	}
	list := lists[user]
	if !list.Followed {
		return tx.DropRemoteList(user)
	}
	crossed := list.Changes != before.Changes
	if crossed {
		tx.OnCommit(func() { s.hub.Wake(resyncs) })
	}
	err = tx.SetRemoteList(storage.RemoteList{User: user, Version: keys.version, Fetched: pos, Stale: crossed}, s.clock.Now().UnixMilli())
	if err != nil {
		return err
	}
	oldDevices, err := tx.RemoteDevices([]id.UserID{user})
	if err != nil {
		return err
	}
	oldKeys, err := tx.RemoteCrossSigningKeys([]id.UserID{user})
	if err != nil {
		return err
	}
	devices, err := writeDevices(tx, oldDevices, keys.devices)
	if err != nil {
		return err
	}
	crossSigning, err := writeCrossSigning(tx, oldKeys, keys.crossSigning)
	// Where nobody had the list, nobody has to hear that it is another one.
	if err != nil || !devices && !crossSigning || !list.Current {
		return err
	}
	_, err = s.changed(tx, user)
	return err
}

// writeDevices makes the devices of a list what they are now, and reports whether that is something else than before.
func writeDevices(tx *storage.Tx, old, now []storage.DeviceKeys) (differs bool, err error) {
	rest := make(map[id.DeviceID]storage.DeviceKeys, len(old))
	for _, d := range old {
		rest[d.Device] = d
	}
	for _, d := range now {
		was, known := rest[d.Device]
		delete(rest, d.Device)
		if known && sameDevice(was, d) {
			continue
		}
		differs = true
		if err := tx.PutRemoteDevice(d); err != nil {
			return false, err
		}
	}
	for _, d := range rest {
		differs = true
		if err := tx.DeleteRemoteDevice(d.User, d.Device); err != nil {
			return false, err
		}
	}
	return differs, nil
}

func sameDevice(a, b storage.DeviceKeys) bool {
	sameName := a.DisplayName == b.DisplayName || a.DisplayName != nil && b.DisplayName != nil && *a.DisplayName == *b.DisplayName
	return sameName && bytes.Equal(a.Keys, b.Keys) && bytes.Equal(a.Signatures, b.Signatures)
}

// writeCrossSigning is writeDevices for cross-signing keys.
func writeCrossSigning(tx *storage.Tx, old, now []storage.CrossSigningKey) (differs bool, err error) {
	rest := make(map[string]storage.CrossSigningKey, len(old))
	for _, k := range old {
		rest[k.Usage] = k
	}
	for _, k := range now {
		was, known := rest[k.Usage]
		delete(rest, k.Usage)
		if known && bytes.Equal(was.Keys, k.Keys) && bytes.Equal(was.Signatures, k.Signatures) {
			continue
		}
		differs = true
		if err := tx.PutRemoteCrossSigningKey(k); err != nil {
			return false, err
		}
	}
	for _, k := range rest {
		differs = true
		if err := tx.DeleteRemoteCrossSigningKey(k.User, k.Usage); err != nil {
			return false, err
		}
	}
	return differs, nil
}

// publicMaster is the master key among cross-signing keys, empty if there is none.
func publicMaster(keys []storage.CrossSigningKey) string {
	for _, k := range keys {
		if k.Usage == storage.MasterKey {
			return k.PublicKey
		}
	}
	return ""
}

// merge is the old keys with new ones in their places.
func merge(old, fresh []storage.CrossSigningKey) []storage.CrossSigningKey {
	out := append([]storage.CrossSigningKey{}, fresh...)
	for _, k := range old {
		replaced := false
		for _, f := range fresh {
			replaced = replaced || f.Usage == k.Usage
		}
		if !replaced {
			out = append(out, k)
		}
	}
	return out
}

// resyncs is rung when there is a list to fetch.
var resyncs = hub.Name('E', "resync")
