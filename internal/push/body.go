package push

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/hearthd/hearth/internal/merr"
)

// The specification sets no limits. These are far above what people use and keep a user's rules cheap to store, sync and evaluate.
const (
	maxRules      = 1000    // of the user, for each kind
	maxStored     = 1 << 19 // bytes, about, of all of them
	maxRuleID     = 255     // bytes
	maxConditions = 32
	maxActions    = 16
	maxPattern    = 512 // bytes
	maxKey        = 512 // bytes
	maxDepth      = 32  // property names in a key
	maxValue      = 1024
	ruleOverhead  = 96 // bytes, about, of the JSON form of a rule
)

// object is a JSON object whose members are found by their exact names, which encoding/json does not promise for structs.
type object map[string]json.RawMessage

func parseObject(b []byte) (object, error) {
	var o object
	if err := json.Unmarshal(b, &o); err != nil || o == nil || !utf8.Valid(b) {
		return nil, merr.New(merr.BadJSON, "A JSON object is expected.")
	}
	return o, nil
}

// text returns a member that is a string.
func (o object) text(name string) (string, bool) {
	raw := o[name]
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	var s string
	return s, json.Unmarshal(raw, &s) == nil
}

// list returns a member that is a list, each item of it compacted.
func (o object) list(name string) ([]json.RawMessage, error) {
	raw, ok := o[name]
	if !ok {
		return nil, merr.Newf(merr.MissingParam, "%q is missing.", name)
	}
	var compact bytes.Buffer
	var out []json.RawMessage
	if err := json.Compact(&compact, raw); err != nil {
		return nil, merr.Newf(merr.BadJSON, "%q must be a list.", name)
	}
	if err := json.Unmarshal(compact.Bytes(), &out); err != nil || out == nil {
		return nil, merr.Newf(merr.BadJSON, "%q must be a list.", name)
	}
	return out, nil
}

// parseRule reads the body of a request to put a rule.
func parseRule(k Kind, ruleID string, body []byte) (Rule, error) {
	o, err := parseObject(body)
	if err != nil {
		return Rule{}, err
	}
	r := Rule{ID: ruleID, Enabled: true}
	switch k {
	case Override, Underride:
		if r.Conditions, err = parseConditions(o); err != nil {
			return Rule{}, err
		}
	case Content:
		if _, ok := o["pattern"]; !ok {
			return Rule{}, merr.New(merr.MissingParam, `"pattern" is missing.`)
		}
		r.Pattern, _ = o.text("pattern")
		if err := checkPattern(r.Pattern); err != nil {
			return Rule{}, err
		}
		if r.Pattern == "" {
			return Rule{}, merr.New(merr.InvalidParam, `"pattern" must be a string that is not empty.`)
		}
	}
	if r.Actions, err = parseActions(o); err != nil {
		return Rule{}, err
	}
	return r, nil
}

// parseConditions reads the conditions of a rule. They may be missing: such a rule always matches.
//
// Spec: client-server-api#conditions
func parseConditions(o object) ([]json.RawMessage, error) {
	if _, ok := o["conditions"]; !ok {
		return []json.RawMessage{}, nil
	}
	list, err := o.list("conditions")
	if err != nil {
		return nil, err
	}
	if len(list) > maxConditions {
		return nil, merr.Newf(merr.TooLarge, "There are too many conditions: at most %d are possible.", maxConditions)
	}
	for _, raw := range list {
		if _, err := parseCondition(raw); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// parseActions reads and checks the member "actions".
func parseActions(o object) ([]json.RawMessage, error) {
	list, err := o.list("actions")
	if err != nil {
		return nil, err
	}
	if len(list) > maxActions {
		return nil, merr.Newf(merr.TooLarge, "There are too many actions: at most %d are possible.", maxActions)
	}
	for _, raw := range list {
		if err := checkAction(raw); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func parseActionsBody(body []byte) ([]json.RawMessage, error) {
	o, err := parseObject(body)
	if err != nil {
		return nil, err
	}
	return parseActions(o)
}

func parseEnabled(body []byte) (bool, error) {
	o, err := parseObject(body)
	if err != nil {
		return false, err
	}
	switch raw, ok := o["enabled"]; {
	case !ok:
		return false, merr.New(merr.MissingParam, `"enabled" is missing.`)
	case string(raw) == "true":
		return true, nil
	case string(raw) == "false":
		return false, nil
	}
	return false, merr.New(merr.InvalidParam, `"enabled" must be true or false.`)
}

func checkPattern(pattern string) error {
	if len(pattern) > maxPattern {
		return merr.Newf(merr.InvalidParam, `"pattern" is longer than %d bytes.`, maxPattern)
	}
	return nil
}

// legalText reports whether a string can be kept by every database: UTF-8 without NUL.
func legalText(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }
