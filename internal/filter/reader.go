package filter

import (
	"encoding/json"
	"errors"
	"strconv"
	"unicode/utf8"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
)

// reader reads a filter's JSON and keeps the first thing that is wrong. Members that are missing or null are taken as not given, unknown
// ones are ignored.
type reader struct {
	err error
}

// object is a JSON object of the filter; its zero value has no members. Members are found by their exact names, which encoding/json does
// not promise for structs.
type object struct {
	r      *reader
	path   string // of the object with a dot behind it, for error messages
	fields map[string]json.RawMessage
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *reader) top(raw json.RawMessage) object {
	o := object{r: r}
	switch {
	case len(raw) > maxSize:
		r.fail(merr.Newf(merr.TooLarge, "The filter is longer than %d bytes.", maxSize))
	case !utf8.Valid(raw):
		r.fail(merr.New(merr.BadJSON, "The filter is not UTF-8."))
	case json.Unmarshal(raw, &o.fields) != nil || o.fields == nil:
		r.fail(merr.New(merr.BadJSON, "The filter is not a JSON object."))
	}
	return o
}

// member decodes a member into out and reports whether it is there.
func (o object) member(name, what string, out any) bool {
	raw, ok := o.fields[name]
	if !ok || string(raw) == "null" {
		return false
	}
	if json.Unmarshal(raw, out) != nil {
		o.r.fail(merr.Newf(merr.BadJSON, "%q must be %s.", o.path+name, what))
		return false
	}
	return true
}

func (o object) object(name string) object {
	out := object{r: o.r, path: o.path + name + "."}
	o.member(name, "an object", &out.fields)
	return out
}

func (o object) text(name string) string {
	var s string
	o.member(name, "a string", &s)
	return s
}

func (o object) boolean(name string) bool {
	b := o.optionalBoolean(name)
	return b != nil && *b
}

func (o object) optionalBoolean(name string) *bool {
	var b bool
	if !o.member(name, "true or false", &b) {
		return nil
	}
	return &b
}

// limit reads "limit". The specification wants it to be greater than 0, but clients that want no events send 0, and get what they want.
func (o object) limit() *int {
	raw, ok := o.fields["limit"]
	if !ok || string(raw) == "null" {
		return nil
	}
	n, err := strconv.ParseUint(string(raw), 10, 53)
	if err != nil {
		o.r.fail(merr.Newf(merr.BadJSON, "%q must be an integer that is not negative.", o.path+"limit"))
		return nil
	}
	limit := int(min(n, maxLimit))
	return &limit
}

// strings reads a list of strings, each of which must pass the check. It is nil only if there is none.
func (o object) strings(name string, check func(string) error) []string {
	var items []*string // null is no string
	if !o.member(name, "a list of strings", &items) {
		return nil
	}
	if len(items) > maxItems {
		o.r.fail(merr.Newf(merr.TooLarge, "%q has more than %d items.", o.path+name, maxItems))
		return nil
	}
	out := make([]string, len(items))
	for i, s := range items {
		err := errNull
		if s != nil {
			out[i], err = *s, check(*s)
		}
		if err != nil {
			o.r.fail(merr.Newf(merr.BadJSON, "%q has a bad item: %s.", o.path+name, err))
			return nil
		}
	}
	return out
}

// ids reads the list of the ids that are wanted and the one of those that are not.
func (o object) ids(name string, check func(string) error) list {
	return list{only: newSet(o.strings(name, check)), not: newSet(o.strings("not_"+name, check))}
}

// types reads the list of the types that are wanted and the one of those that are not. Types may have wildcards.
func (o object) types() list {
	return list{only: newWildSet(o.strings("types", checkType)), not: newWildSet(o.strings("not_types", checkType))}
}

var errNull = errors.New("it is null")

func checkUserID(s string) error {
	_, err := id.ParseUserID(s)
	return err
}

func checkRoomID(s string) error {
	_, err := id.ParseRoomID(s)
	return err
}

func checkType(s string) error {
	if len(s) > maxType {
		return errors.New("it is longer than " + strconv.Itoa(maxType) + " bytes")
	}
	return nil
}
