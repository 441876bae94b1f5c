// Package opengraph reads what a web page says about itself: OpenGraph properties first, then what Twitter cards and plain HTML say
// instead. It is pure, reads a page once from start to end, and keeps a bounded number of bounded texts whatever the page contains. It
// refuses to fetch anything or to run scripts.
package opengraph

import (
	"io"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
	"golang.org/x/net/html/charset"
)

// Page is what was found.
type Page struct {
	// Properties are texts by the name of their OpenGraph property, og:title for instance. Those of og:image are not among them but
	// for its description, since they are about a picture at another place.
	Properties map[string]string
	// Image is the address of the page's picture, empty if there is none.
	Image string
}

const (
	maxProperties = 64   // of a page
	maxName       = 64   // bytes of the name of a property
	maxValue      = 1024 // bytes of a text
	maxAddress    = 2048 // bytes of the address of a picture
)

// Names of properties that are put together here.
const (
	title       = "og:title"
	description = "og:description"
	image       = "og:image"
)

// reader walks through a page and notes the first text of every place that may be of use.
type reader struct {
	base  *url.URL
	og    map[string]string
	other map[string]string // by the names below
	depth map[atom.Atom]int // of the elements whose text must be told apart
	text  atom.Atom         // element whose text is being collected, 0: none
	buf   strings.Builder
}

// Places beside OpenGraph that say the same, named as in reader.other.
const (
	htmlTitle       = "title"
	htmlHeading     = "h1"
	htmlParagraph   = "p"
	metaDescription = "description"
	twitterTitle    = "twitter:title"
	twitterText     = "twitter:description"
	twitterImage    = "twitter:image"
	twitterImageSrc = "twitter:image:src"
	linkImage       = "image_src"
)

// Parse reads a page that came with contentType from the address at. Errors of r end the reading and are not reported: what was found
// before counts, as when a page is longer than the caller wants to read.
func Parse(r io.Reader, contentType string, at *url.URL) Page {
	decoded, err := charset.NewReader(r, contentType)
	if err != nil {
		return Page{Properties: map[string]string{}}
	}
	p := &reader{base: at, og: map[string]string{}, other: map[string]string{}, depth: map[atom.Atom]int{}}
	z := html.NewTokenizer(decoded)
	for {
		switch z.Next() {
		case html.ErrorToken:
			p.finish()
			return p.page()
		case html.StartTagToken:
			p.start(z, false)
		case html.SelfClosingTagToken:
			p.start(z, true)
		case html.EndTagToken:
			name, _ := z.TagName()
			p.end(atom.Lookup(name))
		case html.TextToken:
			if p.text != 0 && p.depth[atom.Script] == 0 && p.depth[atom.Style] == 0 && p.buf.Len() < 4*maxValue {
				text := z.Text()
				p.buf.Write(text[:min(len(text), 4*maxValue)])
			}
		}
	}
}

func (p *reader) start(z *html.Tokenizer, selfClosing bool) {
	name, more := z.TagName()
	tag := atom.Lookup(name)
	switch tag {
	case atom.Meta, atom.Link, atom.Base:
		p.element(tag, attributes(z, more))
	case atom.Title, atom.H1, atom.P:
		// The title of a drawing is not the title of the page.
		if !selfClosing && p.depth[atom.Svg] == 0 {
			p.finish()
			p.text = tag
		}
	case atom.Svg, atom.Script, atom.Style:
		if !selfClosing {
			p.depth[tag]++
		}
	}
}

func (p *reader) end(tag atom.Atom) {
	switch tag {
	case atom.Title, atom.H1, atom.P:
		p.finish()
	case atom.Svg, atom.Script, atom.Style:
		p.depth[tag] = max(p.depth[tag]-1, 0)
	}
}

// finish keeps the text of the element that ends here; the first one with a text counts.
func (p *reader) finish() {
	if p.text != 0 {
		p.note(p.other, p.text.String(), html.UnescapeString(p.buf.String()))
		p.text = 0
	}
	p.buf.Reset()
}

// attributes reads those attributes of a tag that matter here.
func attributes(z *html.Tokenizer, more bool) map[string]string {
	out := map[string]string{}
	for more {
		var key, value []byte
		key, value, more = z.TagAttr()
		switch k := string(key); k {
		case "property", "name", "itemprop", "content", "rel", "href":
			// In HTML the first of several attributes with the same name counts.
			if _, twice := out[k]; !twice {
				out[k] = string(value[:min(len(value), 8*maxValue)])
			}
		}
	}
	return out
}

func (p *reader) element(tag atom.Atom, attr map[string]string) {
	switch tag {
	case atom.Base:
		if u, err := p.base.Parse(attr["href"]); err == nil && attr["href"] != "" {
			p.base = u
		}
	case atom.Link:
		if strings.EqualFold(strings.TrimSpace(attr["rel"]), linkImage) {
			p.note(p.other, linkImage, attr["href"])
		}
	case atom.Meta:
		for _, key := range []string{"property", "name", "itemprop"} {
			name := strings.ToLower(strings.TrimSpace(attr[key]))
			switch {
			case name == "" || len(name) > maxName:
			case strings.HasPrefix(name, "og:"):
				p.note(p.og, name, attr["content"])
			case name == metaDescription, name == twitterTitle, name == twitterText, name == twitterImage, name == twitterImageSrc:
				p.note(p.other, name, attr["content"])
			}
		}
	}
}

// note keeps the first text that is not empty.
func (p *reader) note(into map[string]string, name, text string) {
	if into[name] != "" || len(into) >= maxProperties {
		return
	}
	if text = tidy(text); text != "" {
		into[name] = text
	}
}

// page puts together what was found.
func (p *reader) page() Page {
	out := Page{Properties: map[string]string{}}
	for name, value := range p.og {
		if name != image && (!strings.HasPrefix(name, image+":") || name == image+":alt") {
			out.Properties[name] = cut(value, maxValue)
		}
	}
	p.fill(out.Properties, title, twitterTitle, htmlTitle, htmlHeading)
	p.fill(out.Properties, description, twitterText, metaDescription, htmlParagraph)
	for _, address := range []string{
		p.og[image], p.og[image+":secure_url"], p.og[image+":url"], p.other[twitterImage], p.other[twitterImageSrc], p.other[linkImage],
	} {
		if out.Image = p.address(address); out.Image != "" {
			break
		}
	}
	return out
}

func (p *reader) fill(properties map[string]string, name string, places ...string) {
	for _, place := range places {
		if properties[name] != "" {
			return
		}
		if text := p.other[place]; text != "" {
			properties[name] = cut(text, maxValue)
		}
	}
}

// address makes a link of the page absolute.
func (p *reader) address(link string) string {
	if link == "" || len(link) > maxAddress {
		return ""
	}
	u, err := p.base.Parse(link)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return ""
	}
	u.Fragment = ""
	return u.String()
}

// tidy makes one line of a text, of characters that can be seen.
func tidy(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case r == utf8.RuneError, unicode.IsControl(r):
			return -1
		}
		return r
	}, text)
	return cut(strings.Join(strings.Fields(text), " "), 2*maxValue)
}

// cut shortens a text to at most limit bytes, between characters.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit]
}
