package push

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/hearthd/hearth/internal/merr"
)

func errNotFound() error { return merr.New(merr.NotFound, "The push rule was not found.") }
func errKind() error     { return merr.New(merr.InvalidParam, "There is no such kind of push rules.") }

// Put adds or changes a rule of the user. body is the request's, before and after are the query parameters or empty. A changed rule stays
// enabled or disabled, and where it is unless before or after say otherwise; a new one is enabled and the most important of its kind.
// Errors are M_BAD_JSON, M_MISSING_PARAM, M_INVALID_PARAM, M_TOO_LARGE, or M_UNKNOWN (400) if there is no rule named by before or after.
//
// Spec: client-server-api#put_matrixclientv3pushrulesglobalkindruleid
func (b *Book) Put(stored Stored, k Kind, ruleID, before, after string, body []byte) (Stored, error) {
	own := stored.ruleset()
	rules := own.kind(k)
	if rules == nil {
		return stored, errKind()
	}
	if k == PostContent {
		// Spec: MSC4306#explanation-of-the-rationale-behind-the-postcontent-push-rule-kind
		return stored, merr.New(merr.InvalidParam, "Push rules of this kind cannot be added.")
	}
	if err := checkRuleID(ruleID); err != nil {
		return stored, err
	}
	rule, err := parseRule(k, ruleID, body)
	if err != nil {
		return stored, err
	}
	if ruleID == before || ruleID == after {
		return stored, merr.New(merr.InvalidParam, "A push rule cannot be placed relative to itself.")
	}

	list := slices.Clone(*rules)
	at := 0
	if i := indexOf(list, ruleID); i >= 0 {
		rule.Enabled, at = list[i].Enabled, i
		list = slices.Delete(list, i, i+1)
	}
	// Where both are given, before decides.
	// Spec: client-server-api#put_matrixclientv3pushrulesglobalkindruleid
	for _, place := range []struct {
		ruleID string
		offset int
	}{{after, 1}, {before, 0}} {
		if place.ruleID == "" {
			continue
		}
		i := indexOf(list, place.ruleID)
		if i < 0 {
			return stored, merr.Newf(merr.Unknown, "before/after rule not found: %s", place.ruleID).WithStatus(400)
		}
		at = i + place.offset
	}
	return bounded(k, stored, stored.withKind(k, slices.Insert(list, at, rule)))
}

// Delete removes a rule of the user. Errors are M_NOT_FOUND, and M_INVALID_PARAM for a default rule.
func (b *Book) Delete(stored Stored, k Kind, ruleID string) (Stored, error) {
	if b.find(k, ruleID) != nil {
		return stored, merr.New(merr.InvalidParam, "Default push rules cannot be removed, only disabled.")
	}
	list, i, err := stored.own(k, ruleID)
	if err != nil {
		return stored, err
	}
	return stored.withKind(k, slices.Delete(list, i, i+1)), nil
}

// SetEnabled enables or disables a rule of the user or a default one. body is the request's: {"enabled": bool}. Errors are M_NOT_FOUND,
// M_BAD_JSON, M_MISSING_PARAM and M_INVALID_PARAM.
func (b *Book) SetEnabled(stored Stored, k Kind, ruleID string, body []byte) (Stored, error) {
	enabled, err := parseEnabled(body)
	if err != nil {
		return stored, err
	}
	if d := b.find(k, ruleID); d != nil {
		c := stored.Defaults[ruleID]
		if c.Enabled = nil; enabled == d.disabled {
			c.Enabled = &enabled
		}
		return stored.withChange(ruleID, c), nil
	}
	list, i, err := stored.own(k, ruleID)
	if err != nil {
		return stored, err
	}
	list[i].Enabled = enabled
	return stored.withKind(k, list), nil
}

// SetActions changes the actions of a rule of the user or a default one. body is the request's: {"actions": [...]}. Errors are
// M_NOT_FOUND, M_BAD_JSON, M_MISSING_PARAM, M_INVALID_PARAM and M_TOO_LARGE.
func (b *Book) SetActions(stored Stored, k Kind, ruleID string, body []byte) (Stored, error) {
	actions, err := parseActionsBody(body)
	if err != nil {
		return stored, err
	}
	if d := b.find(k, ruleID); d != nil {
		c := stored.Defaults[ruleID]
		if c.Actions = actions; slices.EqualFunc(actions, d.actions, func(a json.RawMessage, b string) bool { return string(a) == b }) {
			c.Actions = nil
		}
		return bounded(k, stored, stored.withChange(ruleID, c))
	}
	list, i, err := stored.own(k, ruleID)
	if err != nil {
		return stored, err
	}
	list[i].Actions = actions
	return bounded(k, stored, stored.withKind(k, list))
}

// own returns a copy of the user's rules of a kind and the place of one of them, or M_NOT_FOUND.
func (s Stored) own(k Kind, ruleID string) ([]Rule, int, error) {
	own := s.ruleset()
	if rules := own.kind(k); rules != nil {
		if i := indexOf(*rules, ruleID); i >= 0 {
			return slices.Clone(*rules), i, nil
		}
	}
	return nil, 0, errNotFound()
}

// bounded refuses an edit that makes the rules too many or too large. Those that are so already may shrink.
func bounded(k Kind, before, after Stored) (Stored, error) {
	was, is := before.ruleset(), after.ruleset()
	if n := len(*is.kind(k)); n > maxRules && n > len(*was.kind(k)) {
		return before, merr.Newf(merr.TooLarge, "There are too many push rules: at most %d of a kind are possible.", maxRules)
	}
	if n := after.size(); n > maxStored && n > before.size() {
		return before, merr.Newf(merr.TooLarge, "The push rules are too large: at most %d bytes are possible.", maxStored)
	}
	return after, nil
}

// checkRuleID checks the id of a rule of a user.
func checkRuleID(ruleID string) error {
	switch {
	case ruleID == "":
		return merr.New(merr.InvalidParam, "The id of the push rule is empty.")
	case ruleID[0] == '.':
		return merr.New(merr.InvalidParam, "Ids that start with a dot are for default push rules.")
	case strings.ContainsAny(ruleID, `/\`):
		return merr.New(merr.InvalidParam, "The id of a push rule must not have slashes or backslashes.")
	case len(ruleID) > maxRuleID:
		return merr.Newf(merr.InvalidParam, "The id of the push rule is longer than %d bytes.", maxRuleID)
	case !legalText(ruleID):
		return merr.New(merr.InvalidParam, "The id of the push rule is not valid text.")
	}
	return nil
}
