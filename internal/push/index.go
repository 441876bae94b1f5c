package push

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hearthd/hearth/internal/id"
)

// Verdict is what the rules of many recipients make of one event: the same for most of them.
type Verdict struct {
	Rest  Outcome               // for whoever is not in Apart
	Apart map[id.UserID]Outcome // its sender, and those for whom it may be something else
}

// Of returns what the event is to one of the recipients.
func (v *Verdict) Of(user id.UserID) Outcome {
	if o, ok := v.Apart[user]; ok {
		return o
	}
	return v.Rest
}

// Plain reports whether a program is that of the users who have changed nothing.
func (b *Book) Plain(program *Program) bool { return program == b.plain }

// Rest returns what the default rules make of the event for recipients whom it does not name, and who have changed nothing.
func (p *Pass) Rest(b *Book) Outcome {
	p.prepare(b.base)
	p.work = maxWork
	if out := p.find(b.plain, Recipient{}); out != nil {
		return *out
	}
	return Outcome{}
}

// Index finds those of many recipients whom an event may name, so that default rules need to be evaluated for them only. It has a key of each
// name: something that a text with the name as words (see boundary) must have in it, and that can be looked up.
type Index struct {
	one  map[string]id.UserID
	more map[string][]id.UserID // beside the one, where several share a key
}

// Add makes a recipient known, under the localpart and the display name.
func (x *Index) Add(r Recipient) {
	if x.one == nil {
		x.one, x.more = map[string]id.UserID{}, map[string][]id.UserID{}
	}
	local, name := r.keys()
	x.put(local, r.ID)
	if name != local {
		x.put(name, r.ID)
	}
}

// Remove takes a recipient out who was added like this.
func (x *Index) Remove(r Recipient) {
	local, name := r.keys()
	x.drop(local, r.ID)
	if name != local {
		x.drop(name, r.ID)
	}
}

func (x *Index) put(key string, user id.UserID) {
	if key == "" {
		return
	}
	if _, taken := x.one[key]; taken {
		x.more[key] = append(x.more[key], user)
	} else {
		x.one[key] = user
	}
}

func (x *Index) drop(key string, user id.UserID) {
	others := x.more[key]
	if at := slices.Index(others, user); at >= 0 {
		others = slices.Delete(others, at, at+1)
	} else if x.one[key] != user {
		return
	} else if len(others) == 0 {
		delete(x.one, key)
		return
	} else {
		x.one[key], others = others[0], others[1:]
	}
	if len(others) == 0 {
		delete(x.more, key)
	} else {
		x.more[key] = others
	}
}

func (r Recipient) keys() (local, name string) {
	return key(strings.ToLower(r.ID.Localpart())), key(strings.ToLower(r.DisplayName))
}

// key is the longest run of word characters in a name. Where the name is found as words, the run is found with no word character beside it.
// A name that has none, as in Cyrillic or Japanese, has its first two characters as its key.
func key(name string) string {
	best := ""
	for from := 0; from < len(name); {
		to := wordEnd(name, from)
		if to-from > len(best) {
			best = name[from:to]
		}
		from = max(to, from+1)
	}
	if best == "" {
		best = name[:pairEnd(name, 0)]
	}
	return best
}

// wordEnd is where the run of word characters ends that begins at a byte; there, if none does.
func wordEnd(text string, from int) int {
	for from < len(text) && wordByte(text[from]) {
		from++
	}
	return from
}

// pairEnd is where the second character ends after a byte, or the text.
func pairEnd(text string, from int) int {
	_, first := utf8.DecodeRuneInString(text[from:])
	_, second := utf8.DecodeRuneInString(text[from+first:])
	return from + first + second
}

// look calls found with those who have a key that is in a lower-cased text.
func (x *Index) look(text string, found func(id.UserID)) {
	for from := 0; from < len(text); {
		if to := wordEnd(text, from); to > from {
			x.found(text[from:to], found)
			from = to
			continue
		}
		_, first := utf8.DecodeRuneInString(text[from:])
		x.found(text[from:from+first], found)
		if second := pairEnd(text, from); second > from+first {
			x.found(text[from:second], found)
		}
		from += first
	}
}

func (x *Index) found(key string, found func(id.UserID)) {
	if user, ok := x.one[key]; ok {
		found(user)
		for _, user := range x.more[key] {
			found(user)
		}
	}
}

// Named calls found with all recipients of an index for whom a default rule may match because it is about them, and with other users, some
// perhaps twice.
func (p *Pass) Named(b *Book, x *Index, found func(id.UserID)) {
	p.prepare(b.base)
	looked := false
	for _, rules := range p.candidates {
		for _, r := range rules {
			for i := range r.personal {
				property := p.event.find(r.personal[i].path)
				switch r.personal[i].test {
				case testDisplayName, testSelfWords: // all of content.body
					if text, ok := property.text(); ok && !looked {
						looked = true
						x.look(text, found)
					}
				case testSelfIs:
					found(id.UserID(property.scalar().text))
				case testSelfIn:
					for item := range property.set() {
						found(id.UserID(item.text))
					}
				}
			}
		}
	}
}
