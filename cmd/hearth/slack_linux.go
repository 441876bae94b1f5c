package main

/*
#include <sys/prctl.h>

// A thread that sleeps for a time may be woken a millisecond late, where the kernel's default is 50 us: it then wakes for several reasons at once.
// The monitor of the Go runtime, which looks every 20 us while anything runs, was half of all that a lone message woke. Threads inherit this from
// the first one, so it is said before the runtime makes others. Whoever starts the program with another value has the last word.
__attribute__((constructor)) static void sleep_coarsely(void) {
	if (prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0) == 50000)
		prctl(PR_SET_TIMERSLACK, 1000000UL, 0, 0, 0);
}
*/
import "C"
