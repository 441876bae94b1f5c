package opengraph

import (
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func address(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestParse(t *testing.T) {
	props := func(kv ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]] = kv[i+1]
		}
		return m
	}
	for _, tt := range []struct {
		name, page, contentType string
		want                    Page
	}{
		{
			"OpenGraph comes first",
			`<title>Plain</title><meta name="description" content="plain"><meta name="twitter:title" content="Tweet">
			 <meta property="og:title" content="Title &amp; more"><meta property='og:description' content='Text'><meta property="og:type" content="video.movie">`,
			"text/html", Page{Properties: props("og:title", "Title & more", "og:description", "Text", "og:type", "video.movie")},
		},
		{
			"Twitter cards come before HTML",
			`<title>Plain</title><meta name="description" content="plain"><meta name="twitter:title" content="Tweet"><meta name="twitter:description" content="tweeted"><meta name="twitter:image" content="/t.png">`,
			"text/html", Page{Properties: props("og:title", "Tweet", "og:description", "tweeted"), Image: "https://example.org/t.png"},
		},
		{
			"HTML is better than nothing",
			"<title>\n The  <!-- --> page\t</title><meta name=Description content=' What it is '>",
			"text/html", Page{Properties: props("og:title", "The <!-- --> page", "og:description", "What it is")},
		},
		{
			"a heading and the first paragraph with words",
			"<body><svg><title>Icon</title></svg><h1>Head <b>line</b></h1><p> </p><p>First &lt;words&gt;<script>var x</script> more</p><p>Second",
			"text/html", Page{Properties: props("og:title", "Head line", "og:description", "First <words> more")},
		},
		{
			"a picture is relative to the base of the page",
			`<base href="/sub/"><meta property="og:image" content="test.png#x"><meta property="og:image:width" content="1"><meta property="og:image:alt" content="A cat">`,
			"text/html", Page{Properties: props("og:image:alt", "A cat"), Image: "https://example.org/sub/test.png"},
		},
		{
			"pictures at addresses that are not of the web do not count",
			`<meta property="og:image" content="data:image/png;base64,xx"><meta property="og:image:secure_url" content="javascript:1"><link rel=image_src href="//cdn.example/a.png">`,
			"text/html", Page{Properties: props(), Image: "https://cdn.example/a.png"},
		},
		{
			"the first of several counts, unless it is empty",
			`<meta property="og:title" content=""><meta property="og:title" content="One"><meta property="og:title" content="Two">`,
			"text/html", Page{Properties: props("og:title", "One")},
		},
		{
			"properties in name and itemprop are read as well",
			`<meta name="og:title" content="Named"><meta itemprop="description" content="Item">`,
			"text/html", Page{Properties: props("og:title", "Named", "og:description", "Item")},
		},
		{
			"the encoding of the header", "<title>Gr\xfc\xdfe</title>", "text/html; charset=iso-8859-1",
			Page{Properties: props("og:title", "Grüße")},
		},
		{
			"the encoding of the page", "<meta charset=windows-1251><title>\xcf\xf0\xe8\xe2\xe5\xf2</title>", "text/html",
			Page{Properties: props("og:title", "Привет")},
		},
		{
			"an encoding that does not exist", "<title>Plain</title>", "text/html; charset=nonsense",
			Page{Properties: props("og:title", "Plain")},
		},
		{
			"characters that cannot be seen", "<title>a\x00b\x1b[31m\u0085c</title>", "text/html; charset=utf-8",
			Page{Properties: props("og:title", "ab[31m c")},
		},
		{"a page cut short", `<title>Cut`, "text/html", Page{Properties: props("og:title", "Cut")}},
		{"nothing", "", "", Page{Properties: props()}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Parse(strings.NewReader(tt.page), tt.contentType, address(t, "https://example.org/dir/page.html"))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseKeepsABoundedAmount(t *testing.T) {
	var page strings.Builder
	for i := range 1_000 {
		page.WriteString(`<meta property="og:x` + strings.Repeat("y", i%50) + strings.Repeat("z", i/500) + `" content="` + strings.Repeat("é", 1000) + `">`)
	}
	page.WriteString("<title>" + strings.Repeat("ab", 10_000) + "</title>")
	checkBounds(t, Parse(strings.NewReader(page.String()), "text/html; charset=utf-8", address(t, "http://a/")))
}

func checkBounds(t *testing.T, p Page) {
	t.Helper()
	if len(p.Properties) > maxProperties+2 {
		t.Errorf("%d properties", len(p.Properties))
	}
	for name, value := range p.Properties {
		if len(name) > maxName || len(value) > maxValue || value == "" || !utf8.ValidString(value) || !utf8.ValidString(name) || strings.ContainsAny(value, "\x00\n\r") {
			t.Errorf("property %.80q: %.80q", name, value)
		}
		if !strings.HasPrefix(name, "og:") {
			t.Errorf("property %q", name)
		}
	}
	if p.Image != "" {
		u, err := url.Parse(p.Image)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			t.Errorf("picture at %q, error %v", p.Image, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, page := range []string{
		`<title>x</title><meta property="og:image" content="a.png">`, "<svg><title><script>", "<base href=::><link rel=image_src href=//>",
		"\xff\xfe<\x00t\x00", "<meta charset=utf-16le><title>\x00", "<p><h1>&#0;&#xD800;", "<!--<title>", "<meta name=og: content=x>",
	} {
		f.Add(page, "text/html; charset=utf-8")
	}
	at := &url.URL{Scheme: "https", Host: "example.org", Path: "/"}
	f.Fuzz(func(t *testing.T, page, contentType string) {
		checkBounds(t, Parse(strings.NewReader(page), contentType, at))
	})
}

func BenchmarkParse(b *testing.B) {
	page := "<html><head><title>x</title>" + strings.Repeat("<div class=a><p>words and words</p></div>", 20_000)
	at := address(b, "https://example.org/")
	b.SetBytes(int64(len(page)))
	for b.Loop() {
		Parse(strings.NewReader(page), "text/html", at)
	}
}
