package canonjson

import (
	"bytes"
	"unicode/utf8"
)

// isCanonical reports whether raw surely is in canonical form already, as what other servers send mostly is: it is then neither decoded nor
// encoded, which costs ten times as much. Where it would have to think, it says no.
func isCanonical(raw []byte) bool {
	s := scanner{raw}
	return utf8.Valid(raw) && s.value(0) && len(s.rest) == 0
}

// maxScanned is how deep a scan goes.
const maxScanned = 100

// scanner reads one value after another. Its methods report whether there was one in canonical form.
type scanner struct{ rest []byte }

// take skips a character if it comes next.
func (s *scanner) take(c byte) bool {
	ok := len(s.rest) > 0 && s.rest[0] == c
	if ok {
		s.rest = s.rest[1:]
	}
	return ok
}

func (s *scanner) word(w string) bool {
	rest, ok := bytes.CutPrefix(s.rest, []byte(w))
	s.rest = rest
	return ok
}

func (s *scanner) value(depth int) bool {
	if len(s.rest) == 0 || depth > maxScanned {
		return false
	}
	switch s.rest[0] {
	case '{':
		return s.object(depth + 1)
	case '[':
		return s.array(depth + 1)
	case '"':
		_, ok := s.string()
		return ok
	case 't':
		return s.word("true")
	case 'f':
		return s.word("false")
	case 'n':
		return s.word("null")
	}
	return s.number()
}

func (s *scanner) array(depth int) bool {
	s.rest = s.rest[1:]
	if s.take(']') {
		return true
	}
	for s.value(depth) {
		if !s.take(',') {
			return s.take(']')
		}
	}
	return false
}

// object wants its keys in order, each once, and without escapes: they are compared as they are.
func (s *scanner) object(depth int) bool {
	s.rest = s.rest[1:]
	if s.take('}') {
		return true
	}
	var last []byte
	for first := true; ; first = false {
		key, ok := s.string()
		if !ok || bytes.IndexByte(key, '\\') >= 0 || !first && bytes.Compare(last, key) >= 0 || !s.take(':') || !s.value(depth) {
			return false
		}
		last = key
		if !s.take(',') {
			return s.take('}')
		}
	}
}

// string returns what is between the quotes.
func (s *scanner) string() (inner []byte, ok bool) {
	if !s.take('"') {
		return nil, false
	}
	rest := s.rest
	for i := 0; i < len(rest); i++ {
		switch c := rest[i]; {
		case c == '"':
			s.rest = rest[i+1:]
			return rest[:i], true
		case c < ' ':
			return nil, false
		case c == '\\':
			// The short escapes; what needs a long one is rare.
			if i++; i == len(rest) || bytes.IndexByte([]byte(`"\btnfr`), rest[i]) < 0 {
				return nil, false
			}
		}
	}
	return nil, false
}

// number accepts integers of so few digits that no limit matters.
func (s *scanner) number() bool {
	const digits = 15
	negative := s.take('-')
	n := 0
	for n < len(s.rest) && n <= digits && '0' <= s.rest[n] && s.rest[n] <= '9' {
		n++
	}
	if n == 0 || n > digits || s.rest[0] == '0' && (n > 1 || negative) {
		return false
	}
	s.rest = s.rest[n:]
	return true
}
