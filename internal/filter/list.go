package filter

import "strings"

// list is what is wanted and what is not. Nil sets were not given: all is wanted, nothing is unwanted.
type list struct {
	only *set
	not  *set
}

// match reports whether s is wanted. Not to be wanted is stronger than to be wanted.
func (l *list) match(s string) bool {
	return (l.not == nil || !l.not.has(s)) && (l.only == nil || l.only.has(s))
}

func (l *list) all() bool { return l.only == nil && l.not == nil }

// set is a set of strings some of which may have wildcards.
type set struct {
	exact     map[string]struct{}
	wildcards [][]string // each split at its asterisks
}

// newSet returns the set of the items, or nil for no list.
func newSet(items []string) *set {
	if items == nil {
		return nil
	}
	s := &set{exact: make(map[string]struct{}, len(items))}
	for _, item := range items {
		s.exact[item] = struct{}{}
	}
	return s
}

// newWildSet is newSet for items in which * stands for any number of characters.
//
// Spec: client-server-api#post_matrixclientv3useruseridfilter
func newWildSet(items []string) *set {
	s := newSet(items)
	for _, item := range items {
		if parts := strings.Split(item, "*"); len(parts) > 1 {
			s.wildcards = append(s.wildcards, parts)
		}
	}
	return s
}

func (s *set) has(text string) bool {
	if _, ok := s.exact[text]; ok {
		return true
	}
	for _, parts := range s.wildcards {
		if matchParts(parts, text) {
			return true
		}
	}
	return false
}

// matchParts reports whether the parts occur in the text in this order, the first at its start, the last at its end. There are at least
// two parts. It takes the first place for each, which leaves the most room for the rest.
func matchParts(parts []string, text string) bool {
	first, last := parts[0], parts[len(parts)-1]
	if len(text) < len(first)+len(last) || !strings.HasPrefix(text, first) || !strings.HasSuffix(text, last) {
		return false
	}
	text = text[len(first) : len(text)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(text, part)
		if i < 0 {
			return false
		}
		text = text[i+len(part):]
	}
	return true
}
