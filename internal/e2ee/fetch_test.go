package e2ee

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/id"
)

func TestOneServerDoesNotTakeAllRequestsForKeys(t *testing.T) {
	fake := clock.NewFake(time.Unix(1, 0))
	f := newFetches(fake)
	var leaves []func()
	enter := func(ctx context.Context, server string) error {
		leave, err := f.enter(ctx, id.ServerName(server))
		if err == nil {
			leaves = append(leaves, leave)
		}
		return err
	}
	for range maxAskingOne {
		if err := enter(t.Context(), "slow"); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := enter(ctx, "slow"); !errors.Is(err, context.Canceled) {
		t.Errorf("one more: %v", err)
	}
	if err := enter(t.Context(), "another"); err != nil {
		t.Errorf("another server: %v", err)
	}
	for _, leave := range leaves {
		leave()
	}
	if len(f.slots) != 0 || f.servers.Parties() != 0 {
		t.Errorf("%d places are still taken, of %d servers", len(f.slots), f.servers.Parties())
	}
}
