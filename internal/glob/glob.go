// Package glob matches the patterns that lists of servers and users are made of: the access lists of rooms and those of whose invites somebody
// wants. It refuses to be a regular expression: matching takes no longer than the product of the two lengths.
package glob

import (
	"strings"

	"github.com/hearthd/hearth/internal/id"
)

// Match reports whether a pattern matches the whole of a name: * stands for any characters, ? for exactly one. When something does not fit,
// only the last star needs to take one character more, so the time is at most the product of the lengths.
//
// Spec: appendices#glob-style-matching
func Match(pattern, name string) bool {
	p, n := 0, 0
	star, after := -1, 0 // the last star, and the name's first character that it has not taken
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, after = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[n]):
			p++
			n++
		case star >= 0:
			after++
			p, n = star+1, after
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// Any reports whether one of the patterns matches.
func Any(patterns []string, name string) bool {
	for _, p := range patterns {
		if Match(p, name) {
			return true
		}
	}
	return false
}

// Matchable reports whether a pattern can match an id at all. Ids have at most 255 characters, so that a pattern with more of them, the stars not
// counted, matches none.
func Matchable(pattern string) bool { return len(pattern)-strings.Count(pattern, "*") <= id.MaxLength }

// Server is the name of a server in the form that patterns are written for: without its port, in lower case.
//
// Spec: client-server-api#mroomserver_acl
func Server(name id.ServerName) string {
	host := name.Host()
	if strings.Contains(host, ":") {
		host = "[" + host + "]" // as in the name
	}
	return strings.ToLower(host)
}
