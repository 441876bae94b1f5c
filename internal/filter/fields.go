package filter

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/hearthd/hearth/internal/dotpath"
	"github.com/hearthd/hearth/internal/merr"
)

// Fields is a choice of event fields.
type Fields struct {
	names map[string]*Fields // nil for everything below
}

// fields reads "event_fields". An empty list is taken as none, because events without any fields are of no use to anyone.
func (r *reader) fields(o object) *Fields {
	paths := o.strings("event_fields", func(string) error { return nil })
	if len(paths) == 0 {
		return nil
	}
	if len(paths) > maxFields {
		r.fail(merr.Newf(merr.TooLarge, `"event_fields" has more than %d items.`, maxFields))
		return nil
	}
	f := &Fields{names: make(map[string]*Fields)}
	for _, path := range paths {
		names := dotpath.Parse(path)
		if len(path) > maxFieldLen || len(names) > maxDepth {
			r.fail(merr.Newf(merr.BadJSON, `"event_fields" has an item of more than %d bytes or %d names.`, maxFieldLen, maxDepth))
			return nil
		}
		f.add(names)
	}
	return f
}

func (f *Fields) add(path []string) {
	for i, name := range path {
		if f.names == nil {
			return // all of it is wanted already
		}
		if i == len(path)-1 {
			f.names[name] = &Fields{}
			return
		}
		if f.names[name] == nil {
			f.names[name] = &Fields{names: make(map[string]*Fields)}
		}
		f = f.names[name]
	}
}

// Apply returns the event with the chosen fields only. Objects on the way to a field are there if the field is; what is not an object has
// no fields. A nil choice is everything.
func (f *Fields) Apply(event json.RawMessage) (json.RawMessage, error) {
	if f == nil || f.names == nil {
		return event, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(event, &fields); err != nil {
		return nil, fmt.Errorf("choose event fields: %w", err)
	}
	var out bytes.Buffer
	f.write(&out, fields)
	if out.Len() == 0 {
		return json.RawMessage(`{}`), nil
	}
	return out.Bytes(), nil
}

// write writes the chosen fields as an object, or nothing if there are none.
func (f *Fields) write(out *bytes.Buffer, fields map[string]json.RawMessage) {
	chosen := make([]string, 0, len(f.names))
	for name := range f.names {
		if _, ok := fields[name]; ok {
			chosen = append(chosen, name)
		}
	}
	slices.Sort(chosen)
	start := out.Len()
	for _, name := range chosen {
		mark := out.Len()
		if mark == start {
			out.WriteByte('{')
		} else {
			out.WriteByte(',')
		}
		key, err := json.Marshal(name)
		if err != nil { // a string always marshals
			continue
		}
		out.Write(key)
		out.WriteByte(':')
		if sub := f.names[name]; sub.names == nil {
			out.Write(fields[name])
		} else {
			before := out.Len()
			var below map[string]json.RawMessage
			if json.Unmarshal(fields[name], &below) == nil {
				sub.write(out, below)
			}
			if out.Len() == before {
				out.Truncate(mark)
			}
		}
	}
	if out.Len() > start {
		out.WriteByte('}')
	}
}
