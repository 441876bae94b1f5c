package spec

import (
	"strconv"
	"strings"

	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// printer words the problems that the schema library finds.
var printer = message.NewPrinter(language.English)

// pointerTo is a JSON pointer.
func pointerTo(keys []string) string {
	var out strings.Builder
	for _, k := range keys {
		out.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(k))
	}
	return out.String()
}

// embedded checks the events in a body that servers make up, and EDUs: the schemas of operations only say that these have a type and a
// content.
func (c *Checker) embedded(body any) ([]problem, error) {
	var out []problem
	err := walk(body, nil, func(object map[string]any, at []string) error {
		name := ""
		if typ, ok := object["edu_type"].(string); ok {
			name = "server-server:definitions:event-schemas:" + typ
		} else if typ, ok := object["type"].(string); ok && object["content"] != nil && object["event_id"] == nil && object["state_key"] == nil {
			name = "event-schemas:schema:" + typ
		}
		if !c.schemas.has(name) {
			return nil
		}
		found, err := c.validate("/schemas/"+name, object)
		for _, p := range found {
			out = append(out, problem{pointerTo(at) + p.at, p.what})
		}
		return err
	})
	return out, err
}

// walk calls visit with every object of a body but those in the contents of events.
func walk(v any, at []string, visit func(object map[string]any, at []string) error) error {
	switch v := v.(type) {
	case map[string]any:
		if err := visit(v, at); err != nil {
			return err
		}
		for k, member := range v {
			if k == "content" || k == "prev_content" {
				continue
			}
			if err := walk(member, append(at, k), visit); err != nil {
				return err
			}
		}
	case []any:
		for i, member := range v {
			if err := walk(member, append(at, strconv.Itoa(i)), visit); err != nil {
				return err
			}
		}
	}
	return nil
}
