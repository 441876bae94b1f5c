package mail

import (
	"errors"
	"net/mail"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/cases"
)

// maxAddress is the length of an address in bytes: RFC 5321 has a path of 256 with its angle brackets.
const maxAddress = 254

var errAddress = errors.New("not an e-mail address like alice@example.org")

// ParseAddress reads an e-mail address, without a name beside it, and returns the one form in which this server keeps it, compares it and
// writes to it. Whoever controls another spelling of somebody's address thus never gets their mail.
//
// Spec: appendices#e-mail
func ParseAddress(text string) (string, error) {
	if len(text) > maxAddress || !utf8.ValidString(text) {
		return "", errAddress
	}
	a, err := mail.ParseAddress(text)
	// What is parsed must be all there is: names, comments, quoted parts and routes are refused.
	if err != nil || a.Name != "" || a.Address != text {
		return "", errAddress
	}
	at := strings.LastIndexByte(text, '@')
	if at < 1 || strings.ContainsAny(text[:at], "\"\\ ,;<>()") || !isDomain(text[at+1:]) {
		return "", errAddress
	}
	folded := cases.Fold().String(text)
	if len(folded) > maxAddress {
		return "", errAddress
	}
	return folded, nil
}

// isDomain tells names from address literals, with which somebody could have the relay connect anywhere, and from what is no name at all.
func isDomain(domain string) bool {
	for label := range strings.SplitSeq(domain, ".") {
		if label == "" || len(label) > 63 || strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") {
			return false
		}
	}
	return !strings.ContainsFunc(domain, func(r rune) bool {
		return r < utf8.RuneSelf && r != '-' && r != '.' && !('0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z')
	})
}

// Domain is what follows the @ of an address.
func Domain(address string) string { return address[strings.LastIndexByte(address, '@')+1:] }
