// Package id holds the identifiers of Matrix as types. A string from the network becomes one of them at the edge, once, through a Parse
// function; what has such a type is well-formed. The package refuses to judge by room version: room and event ids are opaque here.
package id

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxLength is the limit of user ids, room ids, room aliases and event ids in bytes, with sigil and domain.
//
// Spec: appendices#identifier-grammar
const MaxLength = 255

var errTooLong = fmt.Errorf("longer than %d bytes", MaxLength)

// A bad identifier is reported with what is wrong, never echoed: it may be megabytes of anything.
func bad(kind string, why error) error { return fmt.Errorf("not a valid %s: %w", kind, why) }

// check tests what all sigil identifiers share: sigil, length, legal code points, no NUL.
func check(s string, sigil byte) error {
	switch {
	case s == "":
		return errors.New("it is empty")
	case s[0] != sigil:
		return fmt.Errorf("it does not start with %q", sigil)
	case len(s) > MaxLength:
		return errTooLong
	case strings.IndexByte(s, 0) >= 0:
		return errors.New("it contains NUL")
	case !utf8.ValidString(s):
		return errors.New("it is not UTF-8")
	}
	return nil
}

// checkDomain is check for the form &localpart:domain. The localpart is what stands before the first colon.
func checkDomain(s string, sigil byte) error {
	if err := check(s, sigil); err != nil {
		return err
	}
	_, domain, ok := strings.Cut(s, ":")
	if !ok {
		return errors.New("it has no domain")
	}
	return ServerName(domain).check()
}

func local(s string) string {
	if s == "" {
		return ""
	}
	l, _, _ := strings.Cut(s[1:], ":")
	return l
}

func domain(s string) ServerName {
	_, d, _ := strings.Cut(s, ":")
	return ServerName(d)
}
