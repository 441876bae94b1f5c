package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestGarbageIsBoundedByBytes(t *testing.T) {
	const garbage = 20 << 20
	for live, want := range map[uint64]int{0: mostPercent, 4 << 20: mostPercent, garbage / 2: 200, garbage: 100, 10 * garbage: leastPercent} {
		if got := garbagePercent(garbage, live); got != want {
			t.Errorf("with %d bytes in use it is %d %%, want %d", live, got, want)
		}
	}
}

func TestThePercentageFollowsWhatIsInUse(t *testing.T) {
	if os.Getenv("GOGC") != "" {
		t.Skip("GOGC has the last word")
	}
	t.Cleanup(func() { debug.SetGCPercent(100) })
	percent := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	collectUntil := func(ok func(uint64) bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); ; runtime.Gosched() {
			runtime.GC()
			if metrics.Read(percent); ok(percent[0].Value.Uint64()) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("it is %d %%", percent[0].Value.Uint64())
			}
		}
	}
	boundGarbage(20 << 20)
	large := make([]byte, 40<<20)
	collectUntil(func(percent uint64) bool { return percent <= leastPercent+5 })
	runtime.KeepAlive(large)
	collectUntil(func(percent uint64) bool { return percent >= 200 })
}
