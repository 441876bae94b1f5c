package fedclient

import (
	"crypto/ed25519"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/matrix-org/gomatrixserverlib"

	"github.com/hearthd/hearth/internal/fedtypes"
	"github.com/hearthd/hearth/storage"
)

func oldKey(name, id string, expired int64) OldKey {
	return OldKey{ID: id, Public: encodeBase64(testKey(name).Public().(ed25519.PublicKey)), Expired: expired}
}

func TestWhatWasSignedWithAnOldKeyOfOursStaysGood(t *testing.T) {
	const nowMS = 1_800_000_000_000
	hour := time.Hour.Milliseconds()
	c := newWorld(t).client(func(o *Options) { o.OldKeys = []OldKey{oldKey("before", "ed25519:before", nowMS-hour)} })
	k := NewKeyRing(c, nil, nil)
	for _, tt := range []struct {
		name string
		ts   int64
		key  map[string]ed25519.PrivateKey
		want error
	}{
		{"the key in use", nowMS, oneKey("ed25519:us", c.key), nil},
		{"the old key, from when it was in use", nowMS - 2*hour, oneKey("ed25519:before", testKey("before")), nil},
		{"the old key, from after it was retired", nowMS, oneKey("ed25519:before", testKey("before")), ErrNoKey},
		{"another key with the name of the old one", nowMS - 2*hour, oneKey("ed25519:before", testKey("x")), ErrSignature},
		{"a key that was never ours", nowMS, oneKey("ed25519:never", testKey("x")), ErrNoKey},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, version := range []gomatrixserverlib.RoomVersion{"1", "11"} {
				e := event(t, version, "us.example", tt.ts, tt.key)
				err := k.VerifyEvents(t.Context(), roomVersion(t, version), []fedtypes.Signed{e})[0]
				if !errors.Is(err, tt.want) || tt.want == ErrSignature && errors.Is(err, ErrNoKey) {
					t.Errorf("room version %s: %v, want %v", version, err, tt.want)
				}
			}
		})
	}
}

func TestOldKeysArePublished(t *testing.T) {
	c := newWorld(t).client(func(o *Options) {
		o.OldKeys = []OldKey{oldKey("first", "ed25519:first", 1_500_000_000_000), oldKey("second", "ed25519:second", 1_600_000_000_000)}
	})
	raw, err := NewKeyRing(c, nil, nil).Own()
	if err != nil {
		t.Fatal(err)
	}
	d, err := parseKeyDocument("us.example", raw, c.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	now := c.clock.Now()
	want := []storage.ServerKey{
		{KeyID: "ed25519:us", Public: oldKey("us", "", 0).Public, ValidUntil: now.Add(ownValidity).UnixMilli()},
		{KeyID: "ed25519:first", Public: oldKey("first", "", 0).Public, Expired: 1_500_000_000_000},
		{KeyID: "ed25519:second", Public: oldKey("second", "", 0).Public, Expired: 1_600_000_000_000},
	}
	for i := range want {
		want[i].Server, want[i].Fetched = "us.example", now.UnixMilli()
	}
	if diff := cmp.Diff(want, d.keys); diff != "" {
		t.Error(diff)
	}
}

func TestOldKeysThatCannotBePublishedAreRefused(t *testing.T) {
	good := oldKey("before", "ed25519:before", 1_500_000_000_000)
	with := func(change func(*OldKey)) OldKey {
		k := good
		change(&k)
		return k
	}
	for _, tt := range []struct {
		name string
		keys []OldKey
	}{
		{"one with the name of the key in use", []OldKey{with(func(k *OldKey) { k.ID = "ed25519:us" })}},
		{"two with the same name", []OldKey{good, good}},
		{"one of another algorithm", []OldKey{with(func(k *OldKey) { k.ID = "rsa:before" })}},
		{"one that is too short", []OldKey{with(func(k *OldKey) { k.Public = "AAAA" })}},
		{"one that was never retired", []OldKey{with(func(k *OldKey) { k.Expired = 0 })}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := newWorld(t).options()
			o.OldKeys = tt.keys
			if c, err := New(o); err == nil {
				c.Close()
				t.Error("it is taken")
			}
		})
	}
}
