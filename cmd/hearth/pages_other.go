//go:build !linux

package main

import "time"

const startPages = 2 * time.Second

// releasePages does nothing here: it knows how to on Linux only.
func releasePages() {}
