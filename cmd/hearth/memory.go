package main

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"

	"github.com/hearthd/hearth/internal/budget"
	"github.com/hearthd/hearth/internal/config"
)

// The heap may hold a part of the memory as garbage before it is collected (internal/budget), but at least and at most so many percent of what is
// in use. A server of a few users uses some megabytes: to collect whenever there is as much garbage, as Go does, costs it a quarter of the processor
// time of a message. For a large server the same percentage would be more memory than all of its caches.
const (
	leastPercent = 50
	mostPercent  = 400
)

// limitMemory tells the runtime of the limit, and when to collect. An operator who sets GOMEMLIMIT or GOGC has the last word.
func limitMemory(cfg *config.Config) {
	memory := budget.New(int64(cfg.Memory.Limit))
	if debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(memory.Heap())
	}
	if os.Getenv("GOGC") == "" {
		boundGarbage(uint64(memory.Garbage()))
	}
}

// boundGarbage has the percentage follow what is in use, so that the garbage is so many bytes: it is set again after each collection.
func boundGarbage(garbage uint64) {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	percent := mostPercent
	debug.SetGCPercent(percent)
	// Nobody refers to the token, so that each collection finds it and has its finalizer run.
	type token struct{ _ *token }
	var collected func(*token)
	collected = func(t *token) {
		metrics.Read(live)
		// Setting it stops all threads for a moment, so small changes are left.
		if next := garbagePercent(garbage, live[0].Value.Uint64()); next*10 < percent*9 || next*9 > percent*10 {
			percent = next
			debug.SetGCPercent(percent)
		}
		runtime.SetFinalizer(t, collected)
	}
	runtime.SetFinalizer(&token{}, collected)
}

// garbagePercent is how many percent of so many bytes in use so many bytes of garbage are.
func garbagePercent(garbage, live uint64) int {
	return int(min(max(garbage*100/max(live, 1), leastPercent), mostPercent))
}
