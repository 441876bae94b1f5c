package mail

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"html/template"
	texttemplate "text/template"
	"time"
)

// The letters: NAME.txt, whose first line is the subject, and NAME.html, which is set into frame.html.
//
//go:embed letters
var files embed.FS

// templates are the letters of one language.
type templates struct {
	text *texttemplate.Template
	html map[string]*template.Template
}

// The names of letters.
const (
	confirmLetter = "confirm"
	takenLetter   = "taken"
	unknownLetter = "unknown"
	digestLetter  = "digest"
	trialLetter   = "trial"
)

func parseTemplates() (templates, error) {
	text, err := texttemplate.ParseFS(files, "letters/*.txt")
	if err != nil {
		return templates{}, err
	}
	t := templates{text: text, html: map[string]*template.Template{}}
	for _, name := range []string{confirmLetter, takenLetter, unknownLetter, digestLetter, trialLetter} {
		if t.html[name], err = template.ParseFS(files, "letters/frame.html", "letters/"+name+".html"); err != nil {
			return templates{}, err
		}
	}
	return t, nil
}

// Purpose is what an address is confirmed for.
type Purpose string

// The purposes.
const (
	Register Purpose = "register" // an account with the address
	Reset    Purpose = "reset"    // another password for the account that has the address
	Add      Purpose = "add"      // the address for an account that there is
)

// page is what every letter may say.
type page struct {
	App, Server, Address string
	Purpose              Purpose
	Link, Life           string
	Digest               Digest
}

// write makes a letter and sends it.
func (s *Sender) write(ctx context.Context, name string, p page, unsubscribe string) error {
	cfg := s.config.Get()
	p.Server, p.App = cfg.Server.Name, cfg.Email.AppName
	if p.App == "" {
		p.App = p.Server
	}
	var text, html bytes.Buffer
	if err := s.templates.text.ExecuteTemplate(&text, name+".txt", p); err != nil {
		return fmt.Errorf("write the letter %s: %w", name, err)
	}
	if err := s.templates.html[name].ExecuteTemplate(&html, "frame.html", p); err != nil {
		return fmt.Errorf("write the letter %s: %w", name, err)
	}
	subject, body, _ := bytes.Cut(text.Bytes(), []byte("\n"))
	return s.send(ctx, letter{to: p.Address, subject: string(subject), text: string(bytes.TrimLeft(body, "\n")), html: html.String(), unsubscribe: unsubscribe})
}

// Confirm sends the link that confirms an address.
func (s *Sender) Confirm(ctx context.Context, to string, purpose Purpose, link string, life time.Duration) error {
	return s.write(ctx, confirmLetter, page{Address: to, Purpose: purpose, Link: link, Life: minutes(life)}, "")
}

// Taken tells somebody who wants to register or add an address that an account has it already. Nobody but its owner gets to know that.
func (s *Sender) Taken(ctx context.Context, to string, purpose Purpose) error {
	return s.write(ctx, takenLetter, page{Address: to, Purpose: purpose}, "")
}

// Unknown tells somebody who wants another password that no account has the address.
func (s *Sender) Unknown(ctx context.Context, to string) error {
	return s.write(ctx, unknownLetter, page{Address: to, Purpose: Reset}, "")
}

// Trial sends a letter that says only that letters arrive.
func (s *Sender) Trial(ctx context.Context, to string) error {
	return s.write(ctx, trialLetter, page{Address: to}, "")
}

// Digest is what somebody has missed.
type Digest struct {
	User        string
	Rooms       []DigestRoom
	More        int    // messages that are not shown
	Unsubscribe string // the URL of the page that ends such letters
}

// Total is the number of messages that were missed.
func (d Digest) Total() int {
	n := d.More
	for _, r := range d.Rooms {
		n += len(r.Messages)
	}
	return n
}

// DigestRoom is what was missed in a room.
type DigestRoom struct {
	Name     string
	Link     string
	Messages []DigestMessage
}

// DigestMessage is a line of a digest.
type DigestMessage struct {
	Sender, Text string
	At           time.Time
}

// Digest tells somebody what was missed.
func (s *Sender) Digest(ctx context.Context, to string, d Digest) error {
	for i := range d.Rooms {
		d.Rooms[i].Name = oneLine(d.Rooms[i].Name)
	}
	return s.write(ctx, digestLetter, page{Address: to, Digest: d}, d.Unsubscribe)
}

// minutes says how long something lasts, in words.
func minutes(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", d/time.Hour)
	}
	return fmt.Sprintf("%d minutes", d/time.Minute)
}
