// Package canonjson brings JSON into the canonical form, the bytes that are signed. gomatrixserverlib's CanonicalJSON is not used because it
// does not escape the keys of objects, so that a key with a quote in it gives bytes that are no JSON at all. The package refuses to know of
// events.
package canonjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
)

// ErrNotJSON says that there is not exactly one value.
var ErrNotJSON = errors.New("canonjson: not one JSON value")

// ErrNumber says that a number is not an integer between -2^53+1 and 2^53-1.
var ErrNumber = errors.New("canonjson: a number that is not an integer of at most 53 bits")

const maxInt = 1<<53 - 1

// Canonical returns the canonical form of one JSON value. Numbers that the form has no place for, such as fractions, it keeps as they came.
// The caller has bounded length and depth.
//
// Spec: appendices#canonical-json
func Canonical(raw []byte) ([]byte, error) { return encode(raw, false) }

// Strict is Canonical with ErrNumber for numbers that the form has no place for, as events have been held to since room version 6.
//
// Spec: rooms/v6#canonical-json
func Strict(raw []byte) ([]byte, error) { return encode(raw, true) }

func encode(raw []byte, strict bool) ([]byte, error) {
	if isCanonical(raw) {
		return bytes.Clone(raw), nil
	}
	return recode(raw, strict)
}

func recode(raw []byte, strict bool) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return nil, ErrNotJSON
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, ErrNotJSON
	}
	e := encoder{strict: strict}
	return e.value(make([]byte, 0, len(raw)), v), e.err
}

type encoder struct {
	strict bool
	err    error
}

func (e *encoder) value(b []byte, v any) []byte {
	switch v := v.(type) {
	case bool:
		return strconv.AppendBool(b, v)
	case string:
		return AppendString(b, v)
	case json.Number:
		return e.number(b, string(v))
	case []any:
		b = append(b, '[')
		for i, item := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = e.value(b, item)
		}
		return append(b, ']')
	case map[string]any:
		b = append(b, '{')
		for i, key := range slices.Sorted(maps.Keys(v)) { // the bytes of UTF-8 sort as code points do
			if i > 0 {
				b = append(b, ',')
			}
			b = append(AppendString(b, key), ':')
			b = e.value(b, v[key])
		}
		return append(b, '}')
	}
	return append(b, "null"...)
}

func (e *encoder) number(b []byte, text string) []byte {
	n, err := strconv.ParseInt(text, 10, 64)
	if e.strict && (err != nil || n < -maxInt || n > maxInt) {
		e.err = ErrNumber
	}
	if err != nil {
		return append(b, text...)
	}
	return strconv.AppendInt(b, n, 10) // -0 becomes 0
}

// AppendString appends a string in canonical form: nothing but quotes, backslashes and control characters is escaped.
func AppendString(b []byte, s string) []byte {
	const hex, short = "0123456789abcdef", "btn_fr" // \b is 8
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c >= '\b' && c <= '\r' && c != '\v':
			b = append(b, '\\', short[c-'\b'])
		case c < ' ':
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
