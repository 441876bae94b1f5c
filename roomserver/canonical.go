package roomserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"

	"github.com/matrix-org/gomatrixserverlib"

	"github.com/hearthd/hearth/internal/merr"
)

// canonicalContent checks what a client wants as content and brings it into canonical form. gomatrixserverlib's CanonicalJSON is not used: it
// writes the keys of objects without escaping them, so that a key with a quote in it would give an event that is no JSON at all.
//
// Spec: appendices#canonical-json
func canonicalContent(content json.RawMessage, version gomatrixserverlib.IRoomVersion) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(content))
	dec.UseNumber()
	var object map[string]any
	err := dec.Decode(&object)
	if _, more := dec.Token(); err != nil || object == nil || !errors.Is(more, io.EOF) {
		return nil, merr.New(merr.BadJSON, "The content of an event must be an object")
	}
	c := canonical{strict: strictJSON(version)}
	return c.value(make([]byte, 0, len(content)+16), object)
}

// canonical writes JSON in canonical form. strict refuses numbers that are not integers of at most 53 bits, as room versions do since 6.
//
// Spec: rooms/v6#canonical-json
type canonical struct{ strict bool }

func (c canonical) value(b []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), nil
	case bool:
		return strconv.AppendBool(b, v), nil
	case string:
		return appendString(b, v), nil
	case json.Number:
		return c.number(b, string(v))
	case []any:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			var err error
			if b, err = c.value(b, e); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case map[string]any:
		b = append(b, '{')
		for i, key := range slices.Sorted(maps.Keys(v)) { // bytes of UTF-8 sort as code points do
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, key), ':')
			var err error
			if b, err = c.value(b, v[key]); err != nil {
				return nil, err
			}
		}
		return append(b, '}'), nil
	}
	return nil, fmt.Errorf("a %T in JSON", v)
}

const maxInt = 1<<53 - 1

func (c canonical) number(b []byte, text string) ([]byte, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err == nil && -maxInt <= n && n <= maxInt:
		return strconv.AppendInt(b, n, 10), nil // -0 becomes 0
	case c.strict:
		return nil, merr.New(merr.BadJSON, "Numbers in events must be integers between -2^53+1 and 2^53-1")
	}
	return append(b, text...), nil
}
