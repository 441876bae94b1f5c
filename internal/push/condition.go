package push

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/hearthd/hearth/internal/dotpath"
	"github.com/hearthd/hearth/internal/merr"
)

// The kinds of conditions.
//
// Spec: client-server-api#conditions
const (
	kindEventMatch       = "event_match"
	kindPropertyIs       = "event_property_is"
	kindPropertyContains = "event_property_contains"
	kindDisplayName      = "contains_display_name"
	kindMemberCount      = "room_member_count"
	kindMayNotify        = "sender_notification_permission"
	kindSubscription     = "io.element.msc4306.thread_subscription" // MSC4306
)

// test is what a compiled condition does.
type test uint8

const (
	testNever        test = iota // a condition that is unknown or makes no sense
	testAll                      // glob matches the whole property
	testWords                    // glob matches words of the property
	testIs                       // the property is value
	testContains                 // the property is a list with value
	testList                     // the property is a list
	testMembers                  // the room has between low and high members
	testMayNotify                // the sender has the power for notifications of the kind key
	testNoMentions               // the event does not say whom it mentions
	testDisplayName              // content.body has the user's display name; the tests from here on depend on the user
	testSelfIs                   // the property is the user's id
	testSelfIn                   // the property is a list with the user's id
	testSelfWords                // content.body has the user's localpart
	testSubscription             // the event is in a thread of which the user has said subscription
)

// condition is a compiled condition.
type condition struct {
	test      test
	path      []string
	glob      glob
	value     scalar
	key       string
	low, high int

	subscription Subscription
}

// personal reports whether the condition depends on the user.
func (c *condition) personal() bool { return c.test >= testDisplayName }

// parseCondition compiles a condition. One of an unknown kind never matches. One of a known kind that is malformed is M_INVALID_PARAM.
//
// Spec: client-server-api#conditions
func parseCondition(raw json.RawMessage) (condition, error) {
	o, err := parseObject(raw)
	if err != nil {
		return condition{}, merr.New(merr.InvalidParam, "A condition must be an object.")
	}
	kind, ok := o.text("kind")
	if !ok {
		return condition{}, merr.New(merr.InvalidParam, `A condition must have a "kind".`)
	}
	switch kind {
	case kindEventMatch:
		return parseEventMatch(o)
	case kindPropertyIs, kindPropertyContains:
		return parseProperty(kind, o)
	case kindDisplayName:
		return condition{test: testDisplayName, path: bodyPath()}, nil
	case kindMemberCount:
		return parseMemberCount(o)
	case kindMayNotify:
		key, ok := o.text("key")
		if !ok || len(key) > maxKey {
			return condition{}, badCondition(kind, "key")
		}
		return condition{test: testMayNotify, key: key}, nil
	case kindSubscription:
		switch string(o["subscribed"]) {
		case "true":
			return condition{test: testSubscription, subscription: Subscribed}, nil
		case "false":
			return condition{test: testSubscription, subscription: Unsubscribed}, nil
		}
		return condition{}, badCondition(kind, "subscribed")
	}
	return condition{test: testNever}, nil
}

func badCondition(kind, field string) error {
	return merr.Newf(merr.InvalidParam, "The condition %s needs a valid %q.", kind, field)
}

func bodyPath() []string { return []string{"content", "body"} }

// parsePath reads the member "key" of a condition.
func parsePath(kind string, o object) ([]string, error) {
	key, ok := o.text("key")
	if !ok || len(key) > maxKey {
		return nil, badCondition(kind, "key")
	}
	path := dotpath.Parse(key)
	if len(path) > maxDepth {
		return nil, badCondition(kind, "key")
	}
	return path, nil
}

func parseEventMatch(o object) (condition, error) {
	path, err := parsePath(kindEventMatch, o)
	if err != nil {
		return condition{}, err
	}
	pattern, ok := o.text("pattern")
	if !ok {
		return condition{}, badCondition(kindEventMatch, "pattern")
	}
	if err := checkPattern(pattern); err != nil {
		return condition{}, err
	}
	c := condition{test: testAll, path: path}
	if len(path) == 2 && path[0] == "content" && path[1] == "body" {
		c.test = testWords
	}
	if c.glob, ok = compileGlob(pattern); !ok {
		return condition{}, badCondition(kindEventMatch, "pattern")
	}
	return c, nil
}

func parseProperty(kind string, o object) (condition, error) {
	path, err := parsePath(kind, o)
	if err != nil {
		return condition{}, err
	}
	raw := o["value"]
	c := condition{test: testIs, path: path, value: parseScalar(string(raw))}
	if c.value.kind == scalarNone || len(raw) > maxValue {
		return condition{}, badCondition(kind, "value")
	}
	if kind == kindPropertyContains {
		c.test = testContains
	}
	return c, nil
}

// parseMemberCount reads a decimal integer with an optional comparison before it.
func parseMemberCount(o object) (condition, error) {
	is, ok := o.text("is")
	digits := strings.TrimLeft(is, "=<>")
	// Counts that are too large for an int32 are larger than any room.
	n, err := strconv.ParseUint(digits, 10, 31)
	if errors.Is(err, strconv.ErrRange) && len(is) <= maxKey {
		n, err = 1<<31-1, nil
	}
	if !ok || err != nil {
		return condition{}, badCondition(kindMemberCount, "is")
	}
	c := condition{test: testMembers, low: 0, high: 1 << 31}
	switch count := int(n); strings.TrimSuffix(is, digits) {
	case "", "==":
		c.low, c.high = count, count
	case "<":
		c.high = count - 1
	case "<=":
		c.high = count
	case ">":
		c.low = count + 1
	case ">=":
		c.low = count
	default:
		return condition{}, badCondition(kindMemberCount, "is")
	}
	return c, nil
}

// compileConditions sorts conditions by whether they depend on the user. One that cannot be understood never matches.
func compileConditions(list []json.RawMessage) (shared, personal []condition) {
	for _, raw := range list {
		c, err := parseCondition(raw)
		if err != nil {
			c = condition{test: testNever}
		}
		if c.personal() {
			personal = append(personal, c)
		} else {
			shared = append(shared, c)
		}
	}
	return shared, personal
}
