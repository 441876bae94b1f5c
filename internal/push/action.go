package push

import (
	"encoding/json"

	"github.com/hearthd/hearth/internal/merr"
)

// Outcome is what a user's rules make of an event. The zero value is: nothing.
type Outcome struct {
	Notify    bool
	Highlight bool   // only with Notify
	Sound     string // only with Notify; empty for none, "default" for the device's own
	// Actions is the JSON list of the actions of the rule that matched, tweaks of all kinds included, as GET /notifications and pushers
	// want it. It is nil without Notify and must not be modified.
	Actions json.RawMessage
}

// The actions that are strings. The last two are historical: accepted, kept, and of no effect.
//
// Spec: client-server-api#historical-actions
const (
	actionNotify     = "notify"
	actionDontNotify = "dont_notify"
	actionCoalesce   = "coalesce"
)

// checkAction refuses actions that are none.
func checkAction(raw json.RawMessage) error {
	if len(raw) > maxValue {
		return merr.Newf(merr.InvalidParam, "An action is longer than %d bytes.", maxValue)
	}
	var name string
	if json.Unmarshal(raw, &name) == nil {
		switch name {
		case actionNotify, actionDontNotify, actionCoalesce:
			return nil
		}
		return merr.New(merr.InvalidParam, "There is an unknown action.")
	}
	o, err := parseObject(raw)
	if err != nil {
		return merr.New(merr.InvalidParam, "An action must be a string or an object.")
	}
	if tweak, ok := o.text("set_tweak"); !ok || tweak == "" {
		return merr.New(merr.InvalidParam, `An action that is an object must have "set_tweak".`)
	}
	return nil
}

// compileActions never fails: what it does not understand has no effect but on Actions.
//
// Spec: client-server-api#actions
func compileActions(actions []json.RawMessage) *Outcome {
	var out Outcome
	kept := make([]json.RawMessage, 0, len(actions))
	for _, raw := range actions {
		var name string
		if json.Unmarshal(raw, &name) == nil {
			if name == actionNotify {
				out.Notify = true
				kept = append(kept, raw)
			}
			continue
		}
		o, err := parseObject(raw)
		if err != nil {
			continue
		}
		kept = append(kept, raw)
		switch tweak, _ := o.text("set_tweak"); tweak {
		case "sound":
			out.Sound, _ = o.text("value")
		case "highlight":
			// A highlight tweak without a value is true.
			// Spec: client-server-api#actions
			value, ok := o["value"]
			out.Highlight = !ok || string(value) == "true"
		}
	}
	list, err := json.Marshal(kept)
	if !out.Notify || err != nil {
		return &Outcome{}
	}
	out.Actions = list
	return &out
}

// Tweaks is what the set_tweak actions of a list set, as pushers want it. A tweak without a value is true.
//
// Spec: client-server-api#actions
func Tweaks(actions json.RawMessage) map[string]json.RawMessage {
	var list []json.RawMessage
	if json.Unmarshal(actions, &list) != nil {
		return nil
	}
	var out map[string]json.RawMessage
	for _, raw := range list {
		o, err := parseObject(raw)
		if err != nil {
			continue
		}
		tweak, ok := o.text("set_tweak")
		if !ok {
			continue
		}
		if out == nil {
			out = map[string]json.RawMessage{}
		}
		out[tweak] = json.RawMessage("true")
		if value, ok := o["value"]; ok {
			out[tweak] = value
		}
	}
	return out
}
