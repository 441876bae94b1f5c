package appservice

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/hearthd/hearth/internal/id"
)

// Bounds of a registration file. Operators write them, so that these catch the wrong file rather than an attack.
const (
	maxRegistration = 1 << 20
	maxNamespaces   = 1000
	maxRegex        = 4096
	maxID           = 255
)

// Registration is what an operator has laid down about one application service.
//
// Spec: application-service-api#registration
type Registration struct {
	// ID names the application service for good.
	ID string
	// URL is where it is reached, without a slash at its end; nil: it wants nothing sent to it.
	URL *url.URL
	// Sender is the user it acts as where it names no other.
	Sender id.UserID
	// RateLimited says that its users, but for the sender, are limited like others.
	RateLimited bool
	// ReceiveEphemeral says that it wants to be told of typing, receipts and presence, and LegacyEphemeral that it knows them by the name
	// that they had before v1.13.
	ReceiveEphemeral, LegacyEphemeral bool
	// Encrypted says that it does end-to-end encryption for its users by what it is sent, and not by syncing: messages to their devices, whose
	// devices have changed, and how many keys are left.
	Encrypted bool
	// Protocols are the networks it knows.
	Protocols []string

	asToken, hsToken        string
	users, aliases, roomIDs []namespace
}

// namespace is a set of ids.
type namespace struct {
	exclusive bool
	regex     *regexp.Regexp
}

// file is a registration as it is written.
type file struct {
	ID               string   `yaml:"id"`
	URL              *string  `yaml:"url"`
	ASToken          string   `yaml:"as_token"`
	HSToken          string   `yaml:"hs_token"`
	SenderLocalpart  string   `yaml:"sender_localpart"`
	RateLimited      *bool    `yaml:"rate_limited"`
	ReceiveEphemeral *bool    `yaml:"receive_ephemeral"`
	PushEphemeral    bool     `yaml:"de.sorunome.msc2409.push_ephemeral"` // what receive_ephemeral was called before v1.13
	MSC3202          bool     `yaml:"org.matrix.msc3202"`
	Protocols        []string `yaml:"protocols"`
	Namespaces       *struct {
		Users   []fileNamespace `yaml:"users"`
		Aliases []fileNamespace `yaml:"aliases"`
		Rooms   []fileNamespace `yaml:"rooms"`
	} `yaml:"namespaces"`
}

type fileNamespace struct {
	Exclusive bool   `yaml:"exclusive"`
	Regex     string `yaml:"regex"`
}

// Parse reads a registration file for a server. The error names everything that is wrong with it. Keys that are not known are those of other
// servers' extensions, and mean nothing here.
func Parse(server id.ServerName, text []byte) (*Registration, error) {
	if len(text) > maxRegistration {
		return nil, fmt.Errorf("is larger than %d bytes", maxRegistration)
	}
	var f file
	if err := yaml.Unmarshal(text, &f); err != nil {
		return nil, fmt.Errorf("is not a registration in YAML: %w", err)
	}
	r := &Registration{
		ID: f.ID, RateLimited: f.RateLimited == nil || *f.RateLimited, Protocols: f.Protocols, asToken: f.ASToken, hsToken: f.HSToken,
		ReceiveEphemeral: f.PushEphemeral, LegacyEphemeral: f.PushEphemeral, Encrypted: f.MSC3202,
	}
	if f.ReceiveEphemeral != nil {
		r.ReceiveEphemeral = *f.ReceiveEphemeral
	}
	var problems []error
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if f.ID == "" || len(f.ID) > maxID || strings.ContainsRune(f.ID, 0) {
		wrong("id must be a name of up to %d bytes", maxID)
	}
	for _, token := range []struct{ key, value string }{{"as_token", f.ASToken}, {"hs_token", f.HSToken}} {
		// Spec: RFC 6750, section 2.1. Anything else could not be sent in a header.
		if !isToken.MatchString(token.value) {
			wrong("%s must be letters, digits and any of -._~+/=", token.key)
		}
	}
	var err error
	if r.Sender, err = id.NewUserID(f.SenderLocalpart, server); err != nil {
		wrong("sender_localpart %q is not the local part of a user id", f.SenderLocalpart)
	}
	if f.URL != nil && *f.URL != "" {
		if r.URL, err = parseURL(*f.URL); err != nil {
			wrong("url %q %w", *f.URL, err)
		}
	}
	for _, p := range f.Protocols {
		if p == "" || strings.ContainsRune(p, 0) {
			wrong("protocols has an entry that is no name")
		}
	}
	if f.Namespaces == nil {
		wrong("namespaces is missing")
		return nil, errors.Join(problems...)
	}
	for _, list := range []struct {
		key  string
		from []fileNamespace
		to   *[]namespace
	}{{"users", f.Namespaces.Users, &r.users}, {"aliases", f.Namespaces.Aliases, &r.aliases}, {"rooms", f.Namespaces.Rooms, &r.roomIDs}} {
		if len(list.from) > maxNamespaces {
			wrong("namespaces.%s has more than %d entries", list.key, maxNamespaces)
			continue
		}
		for i, n := range list.from {
			regex, err := compile(n.Regex)
			if err != nil {
				wrong("namespaces.%s[%d].regex: %w", list.key, i, err)
				continue
			}
			*list.to = append(*list.to, namespace{n.Exclusive, regex})
		}
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return r, nil
}

var isToken = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, errors.New("is not a URL")
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return nil, errors.New("is not an http or https URL")
	case u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return nil, errors.New("must have neither a query nor a fragment nor a password")
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
	return u, nil
}

// compile reads the expression of a namespace, which an id has to begin with: registrations in use rely on not having to match to the end.
func compile(expression string) (*regexp.Regexp, error) {
	switch {
	case expression == "":
		return nil, errors.New("is missing")
	case len(expression) > maxRegex:
		return nil, fmt.Errorf("is longer than %d bytes", maxRegex)
	}
	// Twice, so that the expression is one by itself, and not only within the parentheses.
	if _, err := regexp.Compile(expression); err != nil {
		return nil, err
	}
	return regexp.Compile(`\A(?:` + expression + `)`)
}

func matches(in []namespace, text string) bool {
	for _, n := range in {
		if n.regex.MatchString(text) {
			return true
		}
	}
	return false
}

func claims(in []namespace, text string) bool {
	for _, n := range in {
		if n.exclusive && n.regex.MatchString(text) {
			return true
		}
	}
	return false
}

// HasUser reports whether a user is one of the application service's: its sender, or a user of this server in one of its namespaces.
//
// Spec: application-service-api#registration. Users of other servers are never in a namespace.
func (r *Registration) HasUser(user id.UserID) bool {
	return user == r.Sender || user.Server() == r.Sender.Server() && matches(r.users, string(user))
}

// OwnsUser reports whether a user is the application service's alone.
func (r *Registration) OwnsUser(user id.UserID) bool {
	return user == r.Sender || user.Server() == r.Sender.Server() && claims(r.users, string(user))
}

// wantsMessages reports whether it is sent what other devices send to those of its users.
func (r *Registration) wantsMessages() bool { return r.ReceiveEphemeral || r.Encrypted }

// HasAlias reports whether an alias of this server is in one of the application service's namespaces.
func (r *Registration) HasAlias(alias id.RoomAlias) bool {
	return alias.Server() == r.Sender.Server() && matches(r.aliases, string(alias))
}

// HasRoom reports whether a room is in one of the application service's namespaces by its id.
func (r *Registration) HasRoom(room id.RoomID) bool { return matches(r.roomIDs, string(room)) }
