package sliding

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
)

const me id.UserID = "@me:one"

func parse(t testing.TB, body string) *Request {
	t.Helper()
	r, err := Parse(json.RawMessage(body), me, true)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestChoices(t *testing.T) {
	type state struct{ typ, key string }
	all := []state{{"m.room.name", ""}, {"m.room.member", "@me:one"}, {"m.room.member", "@you:one"}, {"m.space.child", "!a:one"}, {"x", "y"}}
	for _, test := range []struct {
		name, choice string
		want         string // letters of what is chosen of all
		lazy, wide   bool
	}{
		{"nothing", `[]`, "", false, false},
		{"one piece", `[["m.room.name",""]]`, "0", false, false},
		{"oneself", `[["m.room.member","$ME"]]`, "1", false, false},
		{"all keys of a type", `[["m.space.child","*"]]`, "3", false, false},
		{"a key of all types", `[["*","y"]]`, "4", false, false},
		{"everything", `[["*","*"]]`, "01234", false, true},
		{"members lazily", `[["m.room.member","$LAZY"]]`, "", true, false},
		{"everything, but members lazily", `[["*","*"],["m.room.member","$LAZY"]]`, "034", true, false},
		{"members lazily and oneself", `[["m.room.member","$LAZY"],["m.room.member","$ME"]]`, "1", true, false},
		{"all members", `[["m.room.member","*"]]`, "12", false, true},
		{"everything, as the proposal has it", `{"include":[{}]}`, "01234", false, true},
		{"all but a type", `{"include":[{}],"exclude":[{"type":"m.room.member"}]}`, "034", false, true},
		{"all but a piece", `{"include":[{}],"exclude":[{"type":"m.room.name","state_key":""}]}`, "1234", false, true},
		{"lazily, as the proposal has it", `{"include":[{}],"lazy_members":true}`, "034", true, false},
		{"lazily, with somebody always", `{"include":[{},{"type":"m.room.member","state_key":"@you:one"}],"lazy_members":true}`, "0234", true, false},
		{"an empty object", `{}`, "", false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := parse(t, `{"lists":{"l":{"timeline_limit":1,"required_state":`+test.choice+`}}}`)
			c := r.Lists[0].State
			again, err := ParseChoice(c.Text())
			if err != nil || again.Text() != c.Text() {
				t.Errorf("%s became %s: %v", c.Text(), again.Text(), err)
			}
			for _, c := range []*Choice{c, again, Join(r.Lists[0].Config, r.Lists[0].Config).State} {
				got := ""
				for i, s := range all {
					if c.Match(s.typ, s.key) {
						got += fmt.Sprint(i)
					}
				}
				if got != test.want || c.Lazy() != test.lazy || c.AllMembers() != test.wide {
					t.Errorf("%s chooses %s, lazily %v, all members %v", c.Text(), got, c.Lazy(), c.AllMembers())
				}
			}
		})
	}
}

func TestJoin(t *testing.T) {
	r := parse(t, `{"lists":{
		"a":{"timeline_limit":1,"required_state":[["m.room.name",""],["m.room.member","$LAZY"]]},
		"b":{"timeline_limit":5,"required_state":{"include":[{"type":"x"}]}},
		"c":{"timeline_limit":2,"required_state":[["m.room.member","*"]]}}}`)
	a, b, c := r.Lists[0].Config, r.Lists[1].Config, r.Lists[2].Config
	ab, ba, abc := Join(a, b), Join(b, a), Join(a, b, c)
	if ab.Limit != 5 || !ab.State.Lazy() || !ab.State.Match("x", "y") || !ab.State.Match("m.room.name", "") {
		t.Errorf("%+v", ab)
	}
	if ab.State.Text() != ba.State.Text() {
		t.Error("the order matters")
	}
	if abc.State.Lazy() || !abc.State.Match("m.room.member", "@x:y") {
		t.Error("all members are not all members")
	}
}

func TestParse(t *testing.T) {
	r := parse(t, `{"conn_id":"c","pos":"p","timeout":-5,"set_presence":"offline",
		"lists":{"b":{"range":[3,4]},"a":{"ranges":[[0,1],[5,6]],"timeline_limit":1000}},
		"room_subscriptions":{"!r:one":{"timeline_limit":-1},"!gone:one":null},
		"extensions":{"to_device":{"enabled":true,"limit":5000,"since":"s"},"e2ee":{"enabled":true},"typing":{"enabled":true,"lists":["a"]},
			"receipts":{"enabled":false}}}`)
	places := func(l List) (out []int) {
		for i := range 10 {
			if l.Has(i) {
				out = append(out, i)
			}
		}
		return out
	}
	if d := cmp.Diff([]int{0, 1, 5, 6}, places(r.Lists[0])); d != "" || r.Lists[0].Limit != maxTimeline {
		t.Errorf("list a: %s, limit %d", d, r.Lists[0].Limit)
	}
	if d := cmp.Diff([]int{3, 4}, places(r.Lists[1])); d != "" {
		t.Errorf("list b: %s", d)
	}
	if len(r.Subscriptions) != 1 || r.Subscriptions["!r:one"].Limit != 0 || r.Timeout != 0 || r.Pos != "p" || r.Conn != "c" {
		t.Errorf("%+v", r)
	}
	if d := cmp.Diff(Extensions{ToDevice: &ToDevice{Limit: maxToDevice, Since: "s"}, E2EE: true, Typing: &Scope{Lists: []string{"a"}}}, r.Extensions); d != "" {
		t.Error(d)
	}
	if parse(t, `{"lists":{"a":{"ranges":[]}}}`).Lists[0].Has(0) {
		t.Error("no ranges are all rooms")
	}
	if !parse(t, `{"lists":{"a":{}}}`).Lists[0].Has(12345) {
		t.Error("without a range there are rooms missing")
	}
	if parse(t, `{"pos":"1","timeout":3}`).Digest != parse(t, `{"timeout":4}`).Digest || parse(t, `{}`).Digest == parse(t, `{"conn_id":"x"}`).Digest {
		t.Error("the digest is not that of what is asked")
	}
}

func TestParseRefuses(t *testing.T) {
	many := func(n int, item string) string {
		var out []string
		for i := range n {
			out = append(out, fmt.Sprintf(item, i))
		}
		return strings.Join(out, ",")
	}
	for _, test := range []struct {
		name, body string
		code       merr.Code
		stable     bool // only the accepted proposal refuses it
	}{
		{"a list for an object", `{"lists":[]}`, merr.BadJSON, false},
		{"a text for a limit", `{"lists":{"a":{"timeline_limit":"x"}}}`, merr.BadJSON, false},
		{"state that is a number", `{"lists":{"a":{"required_state":5}}}`, merr.BadJSON, false},
		{"state that is no pair", `{"lists":{"a":{"required_state":[["x"]]}}}`, merr.BadJSON, false},
		{"a range that goes back", `{"lists":{"a":{"range":[5,3]}}}`, merr.InvalidParam, false},
		{"a negative range", `{"lists":{"a":{"ranges":[[-1,3]]}}}`, merr.InvalidParam, false},
		{"a list without a name", `{"lists":{"":{}}}`, merr.InvalidParam, false},
		{"too many lists", `{"lists":{` + many(101, `"l%d":{}`) + `}}`, merr.InvalidParam, false},
		{"too many subscriptions", `{"room_subscriptions":{` + many(1001, `"!r%d:one":{}`) + `}}`, merr.InvalidParam, false},
		{"too much state", `{"lists":{` + many(4, `"l%d":{"required_state":[`+many(1900, `["t%d",""]`)+`]}`) + `}}`, merr.InvalidParam, false},
		{"more subscriptions than the proposal has", `{"room_subscriptions":{` + many(101, `"!r%d:one":{}`) + `}}`, merr.InvalidParam, true},
		{"a list with a name that is no opaque identifier", `{"lists":{"a b":{}}}`, merr.InvalidParam, true},
		{"a subscription to no room", `{"room_subscriptions":{"x":{}}}`, merr.InvalidParam, false},
		{"a long name of a connection", `{"conn_id":"` + strings.Repeat("x", 256) + `"}`, merr.InvalidParam, false},
		{"a long type", `{"lists":{"a":{"required_state":[["` + strings.Repeat("x", 513) + `",""]]}}}`, merr.InvalidParam, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, experimental := range []bool{false, true} {
				_, err := Parse(json.RawMessage(test.body), me, experimental)
				if experimental && test.stable {
					if err != nil {
						t.Errorf("in the experiments: %v", err)
					}
				} else if !merr.HasCode(err, test.code) {
					t.Errorf("%v", err)
				}
			}
		})
	}
}

func TestScopes(t *testing.T) {
	for _, test := range []struct {
		name       string
		scope      Scope
		lists      []string
		subscribed bool
		want       bool
	}{
		{"all by default", Scope{}, []string{"a"}, false, true},
		{"known rooms outside of all lists", Scope{}, nil, false, true},
		{"subscriptions by default", Scope{Lists: []string{}}, nil, true, true},
		{"a list that is named", Scope{Lists: []string{"a"}, Rooms: []string{}}, []string{"a"}, false, true},
		{"one that is not", Scope{Lists: []string{"b"}, Rooms: []string{}}, []string{"a"}, false, false},
		{"any list", Scope{Lists: []string{"*"}, Rooms: []string{}}, []string{"a"}, false, true},
		{"a room that is named", Scope{Lists: []string{}, Rooms: []string{"!r:one"}}, []string{"a"}, false, true},
		{"any subscription", Scope{Lists: []string{}, Rooms: []string{"*"}}, nil, true, true},
		{"no subscription", Scope{Lists: []string{}, Rooms: []string{}}, nil, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := test.scope.Holds("!r:one", test.lists, test.subscribed); got != test.want {
				t.Error(got)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"lists":{"a":{"ranges":[[0,1]],"required_state":[["*","*"],["m.room.member","$LAZY"]],"filters":{"room_types":[null,"x"]}}}}`,
		`{"room_subscriptions":{"!r:one":{"timeline_limit":5,"required_state":{"include":[{}],"exclude":[{"type":"x"}],"lazy_members":true}}}}`,
		`{"extensions":{"to_device":{"enabled":true,"limit":0},"typing":{"enabled":true,"rooms":["*"]}}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := Parse(body, me, len(body)%2 == 0)
		if err != nil {
			if merr.From(err).Status >= 500 {
				t.Errorf("%q: %v", body, err)
			}
			return
		}
		for _, l := range r.Lists {
			again, err := ParseChoice(l.State.Text())
			if err != nil || again.Text() != l.State.Text() {
				t.Errorf("%q: %q became %q: %v", body, l.State.Text(), again.Text(), err)
			}
			l.Has(0)
			_, _ = l.Filter.Test(Company{
				DMs:    func() (map[id.RoomID]bool, error) { return nil, nil },
				Tags:   func() (map[id.RoomID][]string, error) { return nil, nil },
				Spaces: func([]id.RoomID) (map[id.RoomID]bool, error) { return nil, nil },
			})
		}
	})
}
