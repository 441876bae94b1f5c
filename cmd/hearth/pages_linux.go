package main

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// startPages is when the pages of the start are given back: what happens once has happened then.
const startPages = 2 * time.Second

// releasePages takes the pages of the program and its libraries out of this process's memory that nothing was written to. Starting runs
// through nearly all of them once, twenty and some MiB; those that serving needs come back by themselves, from the page cache.
func releasePages() {
	maps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return // a kernel that does not tell; nothing is lost but the pages
	}
	defer maps.Close()
	var from, to uintptr
	clean := false
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if a, b, ok := span(fields); ok {
			from, to, clean = 0, 0, false
			if len(fields) >= 6 && strings.HasPrefix(fields[5], "/") && (fields[1] == "r-xp" || fields[1] == "r--p") {
				from, to = a, b
			}
			continue
		}
		if len(fields) != 3 || from == to {
			continue
		}
		// What the loader has written to and then protected would be lost, be it in memory or, further down the same block, in swap space.
		switch fields[0] {
		case "Anonymous:":
			clean = fields[1] == "0"
		case "Swap:":
			if clean && fields[1] == "0" {
				_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, from, to-from, syscall.MADV_DONTNEED)
			}
			from, to = 0, 0
		}
	}
}

// span reads the addresses of a mapping, if that is what the line is about.
func span(fields []string) (from, to uintptr, ok bool) {
	if len(fields) < 5 {
		return 0, 0, false
	}
	a, b, ok := strings.Cut(fields[0], "-")
	if !ok {
		return 0, 0, false
	}
	x, err1 := strconv.ParseUint(a, 16, 64)
	y, err2 := strconv.ParseUint(b, 16, 64)
	return uintptr(x), uintptr(y), err1 == nil && err2 == nil
}
