package storage

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// lockFile takes an exclusive lock that the operating system frees when the process ends, however it ends. The file itself
// stays: removing it would let two processes lock two different files.
func lockFile(path string) (release func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("storage: lock %s: %w", path, err)
		}
		who, _ := os.ReadFile(path) // only makes the message better
		return nil, fmt.Errorf("%w (process %s holds %s)", ErrInUse, strings.TrimSpace(string(who)), path)
	}
	if err := f.Truncate(0); err == nil {
		_, _ = fmt.Fprintf(f, "%d\n", os.Getpid()) // for the message above
	}
	return f.Close, nil
}

// createPrivate makes a database file that only its owner can read, because it holds tokens; SQLite gives its companions the same
// permissions. It must come before SQLite opens the file: closing a file gives back all locks the process has on it.
func createPrivate(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("storage: %w", err)
	}
	return f.Close()
}
