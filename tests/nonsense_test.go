package tests

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/hearthd/hearth/internal/hearthtest"
	"github.com/hearthd/hearth/internal/web"
)

// bodies are what no client in its right mind sends, and what looks right until one reads on.
var bodies = []string{
	"", "{}", "[]", "null", `"text"`, "\x00", "{\"a\":\"\xff\"}", `{"a":1e400}`, `{"a":"\ud800"}`, `{"":""}`,
	`{"user_id":17,"room_id":{},"reason":[],"event_id":null,"type":false,"limit":-1,"auth":[],"search_term":{},"device_id":17}`,
	`{"user_id":"@","room_id":"!","event_id":"$","type":"","limit":1e300,"since":"\u0000","from":"\u0000","auth":{"type":"","session":"\u0000"}}`,
	`{"user_id":"@nobody:nowhere","room_id":"!nothing:nowhere","m.read":"$none","m.fully_read":"$none","timeout":9223372036854775807,"typing":true}`,
	`{"search_categories":{"room_events":{"search_term":"\" OR * NEAR( ) {a}: -","filter":{"limit":-1,"rooms":null}}}}`,
	`{"search_term":"%_\\*'\"\u0000","filter":{"generic_search_term":"%'--"},"limit":0}`,
	`{"displayname":"\u0000\u202e","avatar_url":"mxc://","pattern":"**************************a","actions":[{}],"conditions":[{"kind":"event_match","key":"\\\\.","pattern":"*?*?*?*?*?"}]}`,
	`{"preset":"\u0000","initial_state":[{"type":"m.room.create","state_key":"","content":{}}],"invite":["@"],"room_version":"\u0000"}`,
	`{"initial_state":[{"type":"m.room.power_levels","content":{"users":{"@a:b":"x"}}},{"type":"m.room.member","state_key":"x","content":{}}]}`,
	`{"power_level_content_override":{"users":17,"events":[]},"creation_content":{"predecessor":17,"room_version":{},"additional_creators":{}}}`,
	`{"join_rule":17,"allow":{},"users":[],"users_default":9007199254740992,"membership":"other","history_visibility":[],"aliases":"x","alias":17}`,
	`{"device_keys":17,"one_time_keys":[],"messages":{"@a:b":17},"devices":[17],"signatures":"x","master_key":[]}`,
	`{"room":{"timeline":{"limit":-1,"types":[17]},"rooms":"x"},"event_fields":[[]],"event_format":"other"}`,
}

// values are what stands where an id or a name is expected.
var values = []string{
	"x", "%00", "%FF", "%2F", "..", "%2E%2E", "@:", "!:", "%21nothing:nowhere", "$none", "%23none:nowhere", "%40nobody:nowhere", "m.room.member",
	"%F0%9F%8D%B2", strings.Repeat("long", 200),
}

// queries are read by one endpoint or the other.
var queries = []string{
	"", "?from=x&to=x&limit=-1&dir=x", "?from=s1_1&to=s0_0&limit=99999999999999999999&dir=b", "?since=s-1_-1&timeout=0", "?since=s999999999_1&timeout=1",
	"?ts=-9223372036854775808&dir=b", "?ts=9223372036854775807&dir=f", "?filter=%7B%7D&at=s1_1&membership=x", "?filter=[&at=%00&not_membership=%00",
	"?from=%00&since=%FF&at=%FF&search_term=%00&user_id=%00", "?width=0&height=-1", "?width=99999999999&height=1&method=x", "?url=file:///etc/passwd",
	"?kind=x&username=%00&token=%00&session=%00", "?max_depth=-1&suggested_only=x&from=x", "?format=x&include=x&recurse=x&rel_type=%00",
	"?sid=%00&token=%00", "?sid=%FF&token=x", "?access_token=x&user_id=@a:b", "?timeout_ms=-1&allow_remote=x&animated=x",
}

// TestNonsense sends nonsense to everything the server answers. It may be refused in any way but with a failure of the server (which
// hearthtest takes for a failure of the test), and refusals are Matrix errors.
func TestNonsense(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob, admin, victim := a.User("alice"), a.User("bob"), a.Admin("admin"), a.User("victim")
	room := alice.CreateRoom()
	event := alice.Say(room, "hi")
	bob.Join(room)
	names := map[string]string{
		"roomID": string(room), "roomIDOrAlias": string(room), "eventID": string(event), "eventType": "m.room.message",
		"deviceID": string(alice.Device), "serverName": string(a.Name), "roomAlias": "#nonsense:" + string(a.Name), "relType": "m.thread",
		"scope": "global", "kind": "content", "receiptType": "m.read", "keyName": "displayname", "stateKey": "x", "txnID": "1",
	}
	n := 0
	for _, r := range a.Routes() {
		if strings.HasPrefix(r.Path, "/_matrix/client/r0/") || strings.Contains(r.Path, "/logout") || strings.Contains(r.Path, "/deactivate") {
			continue // the first repeats others, the others would end the session
		}
		alice.Join(room) // one of the routes is that for leaving
		for i := range max(len(bodies), len(values), len(queries)) {
			if r.Method == http.MethodGet && i >= max(len(values), len(queries)) {
				break
			}
			n++
			u, target := alice, alice
			if strings.Contains(r.Path, "/admin/") {
				u, target = admin, victim
			}
			names["userID"] = string(target.ID)
			nonsense(t, u, r, names, i)
		}
	}
	if n < 1000 {
		t.Errorf("only %d requests were made", n)
	}
	equal(t, "the server lives", alice.Event(room, bob.Say(room, "still here")).Body(), "still here")
}

// nonsense makes the request number i to a route. Every other one names things that are there, so that the rest is looked at.
func nonsense(t *testing.T, u *hearthtest.User, r web.Route, names map[string]string, i int) {
	t.Helper()
	segments := strings.Split(r.Path, "/")
	for k, s := range segments {
		if name, ok := strings.CutPrefix(s, "{"); ok {
			value := url.PathEscape(names[strings.TrimSuffix(name, "}")])
			if value == "" || i%2 == 0 {
				value = values[(i+k)%len(values)]
			}
			segments[k] = value
		}
	}
	var body any
	if r.Method != http.MethodGet {
		body = bodies[i%len(bodies)]
	}
	path := strings.Join(segments, "/") + queries[i%len(queries)]
	got, err := u.Try(r.Method, path, body)
	switch {
	case err != nil:
		t.Errorf("%s %s with %q: %v", r.Method, path, body, err)
	case strings.HasPrefix(got.Header.Get("Content-Type"), "text/html"): // for people; hearthtest knows where it is allowed
	case got.Status >= 400 && got.Status != http.StatusUnauthorized && got.Get("errcode").Str == "":
		t.Errorf("%s %s with %q: %d %.200s", r.Method, path, body, got.Status, got.Body)
	}
}
