package spec

import (
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strings"
)

// opaque are the operations whose bodies, or what is in them, clients have put there as they liked.
var opaque = []string{
	"getAccountData", "getAccountDataPerRoom", "getRoomStateWithKey", "getFilter", "getUserProfile", "getProfileField", "queryProfile",
	"getRoomKeys", "getRoomKeysByRoomId", "getRoomKeyBySessionId", "getRoomKeysVersion", "getRoomKeysVersionCurrent",
}

// strict checks what schemas do not say and clients need: whole numbers are written as integers, what there is not is left out and not null,
// errors say something, events have an age, and web clients may read it all.
func (c *Checker) strict(x Exchange, o *Operation, body any) ([]problem, error) {
	if x.Status == 0 {
		return nil, nil
	}
	var out []problem
	if o.API == "client-server" && x.Header.Get("Access-Control-Allow-Origin") != "*" {
		out = append(out, problem{"", "web clients may not read it"})
	}
	name := "strict:" + o.ID
	if object, ok := body.(map[string]any); ok && x.Status >= http.StatusBadRequest && object["flows"] == nil {
		name = "strict:error"
	}
	if c.schemas.has(name) && (x.Status == http.StatusOK || name == "strict:error") {
		found, err := c.validate("/schemas/"+name, body)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	if slices.Contains(opaque, o.ID) {
		return out, nil
	}
	err := walk(body, nil, func(object map[string]any, at []string) error {
		for name, member := range object {
			switch v := member.(type) {
			case nil:
				out = append(out, problem{pointerTo(append(at, name)), "null, where it could be left out"})
			case json.Number:
				if f, err := v.Float64(); err == nil && f == math.Trunc(f) && strings.ContainsAny(v.String(), ".eE") {
					out = append(out, problem{pointerTo(append(at, name)), "not written as an integer: " + v.String()})
				}
			}
		}
		if object["event_id"] == nil || object["type"] == nil || object["content"] == nil || o.API != "client-server" {
			return nil
		}
		found, err := c.validate("/schemas/strict:event", object)
		for _, p := range found {
			out = append(out, problem{pointerTo(at) + p.at, p.what})
		}
		return err
	})
	return out, err
}
