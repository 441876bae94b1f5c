package main

import (
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestThreadsSleepCoarsely(t *testing.T) {
	const getTimerSlack = 30 // PR_GET_TIMERSLACK
	var all sync.WaitGroup
	for range 8 { // more than one thread
		all.Go(func() {
			time.Sleep(time.Millisecond)
			if slack, _, err := syscall.RawSyscall6(syscall.SYS_PRCTL, getTimerSlack, 0, 0, 0, 0, 0); err != 0 || slack != uintptr(time.Millisecond) {
				t.Errorf("a thread may be woken %v late, %v", time.Duration(slack), err)
			}
		})
	}
	all.Wait()
}
