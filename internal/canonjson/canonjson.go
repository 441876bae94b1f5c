// Package canonjson brings JSON into the canonical form, the bytes that are signed. gomatrixserverlib's CanonicalJSON is not used because it
// does not escape the keys of objects. The package refuses to judge: what the form has no place for, such as fractions, it keeps as it came.
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

// Canonical returns the canonical form of one JSON value. The caller has bounded its length and depth.
//
// Spec: appendices#canonical-json
func Canonical(raw []byte) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return nil, ErrNotJSON
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, ErrNotJSON
	}
	return appendValue(make([]byte, 0, len(raw)), v), nil
}

func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case bool:
		return strconv.AppendBool(b, v)
	case string:
		return appendString(b, v)
	case json.Number:
		if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
			return strconv.AppendInt(b, n, 10) // -0 becomes 0
		}
		return append(b, v...)
	case []any:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendValue(b, e)
		}
		return append(b, ']')
	case map[string]any:
		b = append(b, '{')
		for i, key := range slices.Sorted(maps.Keys(v)) { // the bytes of UTF-8 sort as code points do
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, key), ':')
			b = appendValue(b, v[key])
		}
		return append(b, '}')
	}
	return append(b, "null"...)
}

// appendString escapes nothing but quotes, backslashes and control characters.
func appendString(b []byte, s string) []byte {
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
