package clientapi

import (
	"encoding/json"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/clientevent"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage"
)

// object writes a JSON object member by member, for answers that are mostly events: those are JSON already, and encoding them once more
// would cost more than finding them.
type object struct {
	buf []byte
}

// newObject begins an object of about so many bytes.
func newObject(size int) *object { return &object{buf: append(make([]byte, 0, size), '{')} }

func (o *object) name(name string) {
	if len(o.buf) > 1 {
		o.buf = append(o.buf, ',')
	}
	o.buf = gjson.AppendJSONString(o.buf, name)
	o.buf = append(o.buf, ':')
}

// text adds a string.
func (o *object) text(name, value string) {
	o.name(name)
	o.buf = gjson.AppendJSONString(o.buf, value)
}

// raw adds JSON.
func (o *object) raw(name string, value json.RawMessage) {
	o.name(name)
	o.buf = append(o.buf, value...)
}

// value adds anything that can be encoded.
func (o *object) value(name string, value any) error {
	raw, err := json.Marshal(value)
	if err == nil {
		o.raw(name, raw)
	}
	return err
}

// events adds a list of events of a batch.
func (o *object) events(name string, batch *clientevent.Batch, events []*storage.Event) {
	o.name(name)
	o.buf = appendEvents(o.buf, batch, events)
}

// end closes the object, which is then a body.
func (o *object) end() web.RawJSON { return append(o.buf, '}') }

// appendEvents appends a list of events of a batch.
func appendEvents(buf []byte, batch *clientevent.Batch, events []*storage.Event) []byte {
	buf = append(buf, '[')
	for i, ev := range events {
		if i > 0 {
			buf = append(buf, ',')
		}
		buf = batch.Append(buf, ev)
	}
	return append(buf, ']')
}

// sizeOf is about what events need as JSON.
func sizeOf(events []*storage.Event) int {
	size := 256
	for _, ev := range events {
		size += len(ev.JSON) + 256
	}
	return size
}
