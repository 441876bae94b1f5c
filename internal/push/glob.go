package push

import (
	"strings"
)

// A glob is a compiled pattern of an event_match condition. Both it and the texts it is tried on are lower-cased, which is what "case
// insensitive" means on this server. A match takes time linear in the text, whatever the pattern: a pattern with wildcards becomes a set
// of states that is moved along the text, 64 states in one machine word.
//
// Spec: appendices#glob-style-matching
type glob struct {
	literal string     // the pattern, if it has no wildcards
	auto    *automaton // the pattern, if it has
}

// automaton has one state for each character of the pattern before which it may be, and one for the end. Bit i of a state set is state i.
type automaton struct {
	words int      // of a state set
	end   int      // the state after the last character
	stars []uint64 // the states in which any character may be skipped
	ascii [128]uint16
	other map[rune]uint16
	masks []uint64 // for each character of the pattern, the states that it takes forward; the first is for all others
}

// maxWords bounds a state set so that it fits the stack.
const maxWords = maxPattern/64 + 1

// compileGlob compiles a pattern of at most maxPattern bytes. ok is false for a longer one.
func compileGlob(pattern string) (g glob, ok bool) {
	if len(pattern) > maxPattern {
		return glob{}, false
	}
	pattern = strings.ToLower(pattern)
	if !strings.ContainsAny(pattern, "*?") {
		return glob{literal: pattern}, true
	}
	a := &automaton{other: make(map[rune]uint16)}
	runes := []rune(pattern)
	if len(runes) > maxPattern { // lower-casing may not lengthen it in characters, but who knows all of Unicode
		return glob{}, false
	}
	a.words = len(runes)/64 + 1
	a.stars = make([]uint64, a.words)
	a.masks = make([]uint64, a.words)
	for _, r := range runes {
		word, bit := a.end/64, uint64(1)<<(a.end%64)
		switch r {
		case '*':
			a.stars[word] |= bit
			continue
		case '?':
			for i := word; i < len(a.masks); i += a.words {
				a.masks[i] |= bit
			}
		default:
			a.masks[a.class(r)*a.words+word] |= bit
		}
		a.end++
	}
	return glob{auto: a}, true
}

// class returns the number of the mask of a character, which it makes if needed. A new mask starts as a copy of that of ?.
func (a *automaton) class(r rune) int {
	n := uint16(len(a.masks) / a.words)
	if r < 128 {
		if a.ascii[r] == 0 {
			a.ascii[r] = n
			a.masks = append(a.masks, a.masks[:a.words]...)
		}
		return int(a.ascii[r])
	}
	if a.other[r] == 0 {
		a.other[r] = n
		a.masks = append(a.masks, a.masks[:a.words]...)
	}
	return int(a.other[r])
}

func (a *automaton) mask(r rune) []uint64 {
	class := uint16(0)
	if r < 128 {
		class = a.ascii[r]
	} else if len(a.other) > 0 {
		class = a.other[r]
	}
	return a.masks[int(class)*a.words:][:a.words]
}

// step moves the states along one character and reports whether any are left.
func (a *automaton) step(states []uint64, r rune) bool {
	mask := a.mask(r)
	carry, left := uint64(0), uint64(0)
	for i := range states {
		moved := states[i] & mask[i]
		states[i] = moved<<1 | carry | states[i]&a.stars[i]
		carry = moved >> 63
		left |= states[i]
	}
	return left != 0
}

func (a *automaton) ended(states []uint64) bool { return states[a.end/64]>>(a.end%64)&1 != 0 }

// work is what may still be done for one evaluation, in steps of about a nanosecond or two. It bounds what the rules of one user can cost.
type work int

func (w *work) spend(n int) bool {
	*w -= work(n)
	return *w >= 0
}

// matchAll reports whether the pattern matches the whole of a lower-cased text.
func (g *glob) matchAll(text string, w *work) bool {
	if g.auto == nil {
		return w.spend(1) && text == g.literal
	}
	a := g.auto
	if !w.spend(len(text) * a.words) {
		return false
	}
	var set [maxWords]uint64
	states := set[:a.words]
	states[0] = 1
	for _, r := range text {
		if !a.step(states, r) {
			return false
		}
	}
	return a.ended(states)
}

// matchWords reports whether the pattern matches a part of a lower-cased text that starts and ends at word boundaries.
//
// Spec: client-server-api#conditions
func (g *glob) matchWords(text string, w *work) bool {
	if g.auto == nil {
		return containsWords(text, g.literal, w)
	}
	a := g.auto
	if !w.spend(len(text) * a.words) {
		return false
	}
	var set [maxWords]uint64
	states := set[:a.words]
	for i, r := range text {
		if boundary(text, i) {
			states[0] |= 1
			if a.ended(states) {
				return true
			}
		}
		a.step(states, r)
	}
	states[0] |= 1
	return a.ended(states)
}

// containsWords is matchWords for a lower-cased pattern without wildcards.
func containsWords(text, literal string, w *work) bool {
	for from := 0; from <= len(text); {
		i := strings.Index(text[from:], literal)
		if i < 0 {
			w.spend((len(text) - from) / 16)
			return false
		}
		start := from + i
		if !w.spend((i+len(literal))/16 + 4) {
			return false
		}
		if boundary(text, start) && boundary(text, start+len(literal)) {
			return true
		}
		from = start + 1
	}
	return false
}

// boundary reports whether a match may start or end before the i-th byte: at the ends of the text, and beside every character that is no
// letter, digit or underscore of ASCII.
//
// Spec: client-server-api#conditions
func boundary(text string, i int) bool {
	return i == 0 || i == len(text) || !wordByte(text[i-1]) || !wordByte(text[i])
}

func wordByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_'
}
