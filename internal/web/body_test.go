package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/hearthd/hearth/internal/merr"
)

type strict string

func (s *strict) UnmarshalText(b []byte) error {
	if string(b) == "own" {
		return merr.New(merr.InvalidParam, "own words")
	}
	if string(b) != "good" {
		return errors.New("not good")
	}
	*s = strict(b)
	return nil
}

func TestJSONBody(t *testing.T) {
	type body struct {
		Number int    `json:"number"`
		Good   strict `json:"good"`
		In     struct {
			List []string `json:"list"`
		} `json:"in"`
	}
	decode := func(_ context.Context, r *Request) (any, error) {
		var b body
		if err := r.JSON(&b); err != nil {
			return nil, err
		}
		return b, nil
	}
	optional := func(_ context.Context, r *Request) (any, error) {
		var b body
		if err := r.JSONOptional(&b); err != nil {
			return nil, err
		}
		return b, nil
	}
	object := func(_ context.Context, r *Request) (any, error) {
		raw, err := r.Object()
		return raw, err
	}
	s := newTestServer(t, Options{BodyLimit: 300},
		Route{"POST", "/json", None, RateNone, decode},
		Route{"POST", "/optional", None, RateNone, optional},
		Route{"POST", "/object", None, RateNone, object},
		Route{"POST", "/large", None, RateNone, BodyLimit(1000, object)})
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	const zero = `{"number":0,"good":"","in":{"list":null}}`
	tests := map[string]struct {
		path, body string
		status     int
		want       string // errcode or answer
	}{
		"an object":                         {"/json", ` {"number": 3} `, 200, `{"number":3,"good":"","in":{"list":null}}`},
		"unknown members are left out":      {"/json", `{"x": {"y": [1.5e3]}}`, 200, zero},
		"an empty body":                     {"/json", "", 400, "M_NOT_JSON"},
		"an empty body that may be":         {"/optional", "", 200, zero},
		"blanks that may be":                {"/optional", " \n", 200, zero},
		"an optional body that is broken":   {"/optional", "{", 400, "M_NOT_JSON"},
		"no JSON":                           {"/json", `{"number": 3`, 400, "M_NOT_JSON"},
		"something after the object":        {"/json", `{} {}`, 400, "M_NOT_JSON"},
		"invalid UTF-8":                     {"/json", "{\"a\": \"\xff\"}", 400, "M_NOT_JSON"},
		"a list instead of an object":       {"/json", `[]`, 400, "M_BAD_JSON"},
		"a text instead of a number":        {"/json", `{"number": "3"}`, 400, "M_BAD_JSON"},
		"a fraction instead of a number":    {"/json", `{"number": 3.5}`, 400, "M_BAD_JSON"},
		"a wrong type inside":               {"/json", `{"in": {"list": [1]}}`, 400, "M_BAD_JSON"},
		"a value that its type refuses":     {"/json", `{"good": "x"}`, 400, "M_BAD_JSON"},
		"a value refused with a code":       {"/json", `{"good": "own"}`, 400, "M_INVALID_PARAM"},
		"nested as deep as allowed":         {"/json", `{"x":` + deep(maxDepth-1) + `}`, 200, zero},
		"nested too deeply":                 {"/json", `{"x":` + deep(maxDepth) + `}`, 400, "M_BAD_JSON"},
		"brackets in texts are no nesting":  {"/json", `{"x":"` + strings.Repeat(`[\"`, maxDepth/2+1) + `"}`, 200, zero},
		"a body that is too long":           {"/json", `{"x":"` + strings.Repeat("a", 300) + `"}`, 413, "M_TOO_LARGE"},
		"a raw object":                      {"/object", `{"a": [1,2] }`, 200, `{"a": [1,2] }`},
		"a raw list":                        {"/object", `[]`, 400, "M_BAD_JSON"},
		"raw nonsense":                      {"/object", `{"a"`, 400, "M_NOT_JSON"},
		"no raw object":                     {"/object", ``, 400, "M_NOT_JSON"},
		"a route may allow a longer body":   {"/large", `{"x":"` + strings.Repeat("a", 400) + `"}`, 200, `{"x":"` + strings.Repeat("a", 400) + `"}`},
		"the longer body has a limit, too":  {"/large", `{"x":"` + strings.Repeat("a", 1000) + `"}`, 413, "M_TOO_LARGE"},
		"a body that is just short enough":  {"/large", `{"x":"` + strings.Repeat("a", 1000-8) + `"}`, 200, `{"x":"` + strings.Repeat("a", 1000-8) + `"}`},
		"a body that is one byte too long":  {"/large", `{"x":"` + strings.Repeat("a", 1000-7) + `"}`, 413, "M_TOO_LARGE"},
		"null where an object should stand": {"/object", `null`, 400, "M_BAD_JSON"},
	}
	for name, tt := range tests {
		for _, chunked := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				w := callBody(s, tt.path, tt.body, chunked)
				if w.Code != tt.status {
					t.Fatalf("got %d %s, want %d", w.Code, w.Body, tt.status)
				}
				if tt.status == 200 {
					if w.Body.String() != tt.want {
						t.Errorf("got %s, want %s", w.Body, tt.want)
					}
				} else if got := errcode(t, w); got != tt.want {
					t.Errorf("errcode is %s, want %s", got, tt.want)
				}
			})
		}
	}
}

func TestBodyOfBytes(t *testing.T) {
	s := newTestServer(t, Options{}, Route{"POST", "/x", None, RateNone, func(_ context.Context, r *Request) (any, error) {
		r.LimitBody(5)
		data, err := io.ReadAll(r.Body())
		if err != nil {
			return nil, err
		}
		return map[string]any{"data": string(data), "length": r.ContentLength()}, nil
	}})
	if w := callBody(s, "/x", "12345", true); w.Body.String() != `{"data":"12345","length":-1}` {
		t.Errorf("got %s", w.Body)
	}
	if w := callBody(s, "/x", "12345", false); w.Body.String() != `{"data":"12345","length":5}` {
		t.Errorf("got %s", w.Body)
	}
	if w := callBody(s, "/x", "123456", true); w.Code != 413 {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func TestBodyThatBreaksOffIsTheClientsFault(t *testing.T) {
	s := newTestServer(t, Options{}, Route{"POST", "/x", None, RateNone, func(_ context.Context, r *Request) (any, error) {
		_, err := r.Object()
		return nil, err
	}})
	w := callReader(s, "/x", io.MultiReader(strings.NewReader("{"), broken{}))
	if w.Code != 400 {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// FuzzDepth holds the depth check against what the decoder finds.
func FuzzDepth(f *testing.F) {
	f.Add([]byte(`{"a":[1,"]",{"b":"\""}]}`))
	f.Add([]byte(strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1)))
	f.Add([]byte(strings.Repeat(`{"a":`, maxDepth) + "1" + strings.Repeat("}", maxDepth)))
	f.Add([]byte(`"\`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got := tooDeep(data)
		if !json.Valid(data) {
			return
		}
		depth, deepest := 0, 0
		d := json.NewDecoder(bytes.NewReader(data))
		for {
			token, err := d.Token()
			if err != nil {
				break
			}
			if delim, ok := token.(json.Delim); ok {
				if delim == '{' || delim == '[' {
					depth++
					deepest = max(deepest, depth)
				} else {
					depth--
				}
			}
		}
		if want := deepest > maxDepth; got != want {
			t.Errorf("%q is %d deep, but tooDeep says %v", data, deepest, got)
		}
	})
}
