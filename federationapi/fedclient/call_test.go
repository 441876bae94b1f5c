package fedclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/matrix-org/gomatrixserverlib"

	"github.com/hearthd/hearth/internal/canonjson"
	"github.com/hearthd/hearth/internal/fedtypes"
	"github.com/hearthd/hearth/internal/id"
)

const peerName = "b.example"

// conversation makes a peer and a client that talks to it.
func conversation(t *testing.T, change ...func(*Options)) (*world, *peer, *Client) {
	t.Helper()
	w := newWorld(t)
	p := w.peer(peerName, "10.0.0.1")
	return w, p, w.client(change...)
}

func raws(texts ...string) []json.RawMessage {
	var out []json.RawMessage
	for _, s := range texts {
		out = append(out, json.RawMessage(s))
	}
	return out
}

func TestCallsAskAsTheSpecificationSays(t *testing.T) {
	const fed = "/_matrix/federation"
	versions := []gomatrixserverlib.RoomVersion{"1", "12"}
	for _, tt := range []struct {
		name         string
		method, path string // as it must arrive, without query
		query, body  string
		unsigned     bool
		answer       string
		call         func(ctx context.Context, c *Client) (any, error)
		want         any
	}{
		{"make_join", "GET", fed + "/v1/make_join/%21r:b.example/@u:us.example", "ver=1&ver=12", "", false, `{"room_version":"11","event":{"type":"x"}}`,
			func(ctx context.Context, c *Client) (any, error) {
				return c.MakeJoin(ctx, peerName, "!r:b.example", "@u:us.example", versions)
			},
			fedtypes.Template{Version: "11", Event: json.RawMessage(`{"type":"x"}`)}},
		{"make_leave", "GET", fed + "/v1/make_leave/%21r%2Fs:b.example/@u:us.example", "", "", false, `{"event":{"type":"x"}}`,
			func(ctx context.Context, c *Client) (any, error) {
				return c.MakeLeave(ctx, peerName, "!r/s:b.example", "@u:us.example")
			},
			fedtypes.Template{Event: json.RawMessage(`{"type":"x"}`)}},
		{"make_knock", "GET", fed + "/v1/make_knock/%21r/@u:us.example", "ver=1&ver=12", "", false, `{"room_version":"11","event":{"type":"x"}}`,
			func(ctx context.Context, c *Client) (any, error) {
				return c.MakeKnock(ctx, peerName, "!r", "@u:us.example", versions)
			},
			fedtypes.Template{Version: "11", Event: json.RawMessage(`{"type":"x"}`)}},
		{"send_join", "PUT", fed + "/v2/send_join/%21r/$e", "", `{"a":1}`, false,
			`{"state":[{"s":1}],"auth_chain":[{"a":1},{"a":2}],"event":{"e":1},"members_omitted":true,"servers_in_room":["b.example","/","c.example:1"]}`,
			func(ctx context.Context, c *Client) (any, error) {
				return c.SendJoin(ctx, peerName, "!r", "$e", json.RawMessage(`{ "a": 1 }`))
			},
			fedtypes.JoinAnswer{
				Event: json.RawMessage(`{"e":1}`), State: raws(`{"s":1}`), AuthChain: raws(`{"a":1}`, `{"a":2}`), MembersOmitted: true,
				Servers: []id.ServerName{"b.example", "c.example:1"},
			}},
		{"send_leave", "PUT", fed + "/v2/send_leave/%21r/$e", "", `{"a":1}`, false, `{}`,
			func(ctx context.Context, c *Client) (any, error) {
				return nil, c.SendLeave(ctx, peerName, "!r", "$e", json.RawMessage(`{"a":1}`))
			}, nil},
		{"send_knock", "PUT", fed + "/v1/send_knock/%21r/$e", "", `{"a":1}`, false, `{"knock_room_state":[{"a":1}]}`,
			func(ctx context.Context, c *Client) (any, error) {
				return c.SendKnock(ctx, peerName, "!r", "$e", json.RawMessage(`{"a":1}`))
			}, raws(`{"a":1}`)},
		{"invite", "PUT", fed + "/v2/invite/%21r/$e", "", `{"event":{"a":1},"invite_room_state":[],"room_version":"11"}`, false, `{"event":{"a":2}}`,
			func(ctx context.Context, c *Client) (any, error) {
				return c.Invite(ctx, peerName, "!r", "$e", "11", json.RawMessage(`{"a":1}`), nil)
			}, json.RawMessage(`{"a":2}`)},
		{"a third-party invite", "PUT", fed + "/v1/exchange_third_party_invite/%21r", "", `{"a":1}`, false, `{}`,
			func(ctx context.Context, c *Client) (any, error) {
				return nil, c.ExchangeThirdPartyInvite(ctx, peerName, "!r", json.RawMessage(`{"a":1}`))
			}, nil},
		{"an event", "GET", fed + "/v1/event/$e%2F+e", "", "", false, `{"pdus":[{"a":1}]}`,
			func(ctx context.Context, c *Client) (any, error) { return c.Event(ctx, peerName, "$e/+e") }, json.RawMessage(`{"a":1}`)},
		{"the state", "GET", fed + "/v1/state/%21r", "event_id=%24e", "", false, `{"pdus":[{"a":1}],"auth_chain":[{"b":1}]}`,
			func(ctx context.Context, c *Client) (any, error) { return c.State(ctx, peerName, "!r", "$e") },
			fedtypes.StateAnswer{State: raws(`{"a":1}`), AuthChain: raws(`{"b":1}`)}},
		{"the ids of the state", "GET", fed + "/v1/state_ids/%21r", "event_id=%24e", "", false, `{"pdu_ids":["$a","nothing"],"auth_chain_ids":["$b"]}`,
			func(ctx context.Context, c *Client) (any, error) { return c.StateIDs(ctx, peerName, "!r", "$e") },
			fedtypes.StateIDsAnswer{State: []id.EventID{"$a"}, AuthChain: []id.EventID{"$b"}}},
		{"the auth chain", "GET", fed + "/v1/event_auth/%21r/$e", "", "", false, `{"auth_chain":[{"b":1}]}`,
			func(ctx context.Context, c *Client) (any, error) { return c.EventAuth(ctx, peerName, "!r", "$e") }, raws(`{"b":1}`)},
		{"backfill", "GET", fed + "/v1/backfill/%21r", "limit=7&v=%24a&v=%24b", "", false, `{"pdus":[{"a":1}]}`,
			func(ctx context.Context, c *Client) (any, error) {
				return c.Backfill(ctx, peerName, "!r", []id.EventID{"$a", "$b"}, 7)
			}, raws(`{"a":1}`)},
		{"missing events", "POST", fed + "/v1/get_missing_events/%21r", "",
			`{"earliest_events":[],"latest_events":["$a"],"limit":3,"min_depth":9}`, false, `{"events":[{"a":1}]}`,
			func(ctx context.Context, c *Client) (any, error) {
				return c.MissingEvents(ctx, peerName, "!r", fedtypes.MissingRequest{Latest: []id.EventID{"$a"}, Limit: 3, MinDepth: 9})
			}, raws(`{"a":1}`)},
		{"an event by its time", "GET", fed + "/v1/timestamp_to_event/%21r", "dir=b&ts=12", "", false, `{"event_id":"$e","origin_server_ts":11}`,
			func(ctx context.Context, c *Client) (any, error) {
				return c.TimestampToEvent(ctx, peerName, "!r", 12, true)
			}, fedtypes.EventMoment{ID: "$e", TS: 11}},
		{"a transaction", "PUT", fed + "/v1/send/t%2F1", "", `{"pdus":[]}`, false, `{"pdus":{"$a":{},"$b":{"error":"no\nno"},"c":{"error":"x"}}}`,
			func(ctx context.Context, c *Client) (any, error) {
				return c.SendTransaction(ctx, peerName, "t/1", json.RawMessage(`{"pdus":[]}`))
			}, map[id.EventID]string{"$b": "no no"}},
		{"a profile", "GET", fed + "/v1/query/profile", "field=displayname&user_id=%40u%3Ab.example", "", false, `{"displayname":"U"}`,
			func(ctx context.Context, c *Client) (any, error) {
				return c.Profile(ctx, peerName, "@u:b.example", "displayname")
			}, json.RawMessage(`{"displayname":"U"}`)},
		{"an alias", "GET", fed + "/v1/query/directory", "room_alias=%23a%3Ab.example", "", false, `{"room_id":"!r:b.example","servers":["b.example","?"]}`,
			func(ctx context.Context, c *Client) (any, error) { return c.Directory(ctx, peerName, "#a:b.example") },
			fedtypes.DirectoryAnswer{Room: "!r:b.example", Servers: []id.ServerName{"b.example"}}},
		{"public rooms", "POST", fed + "/v1/publicRooms", "", `{"limit":1}`, false, `{"chunk":[]}`,
			func(ctx context.Context, c *Client) (any, error) {
				return c.PublicRooms(ctx, peerName, json.RawMessage(`{"limit":1}`))
			}, json.RawMessage(`{"chunk":[]}`)},
		{"a space", "GET", fed + "/v1/hierarchy/%21r", "suggested_only=true", "", false, `{"room":{}}`,
			func(ctx context.Context, c *Client) (any, error) { return c.Hierarchy(ctx, peerName, "!r", true) }, json.RawMessage(`{"room":{}}`)},
		{"devices", "GET", fed + "/v1/user/devices/@u:b.example", "", "", false, `{"devices":[]}`,
			func(ctx context.Context, c *Client) (any, error) { return c.UserDevices(ctx, peerName, "@u:b.example") },
			json.RawMessage(`{"devices":[]}`)},
		{"keys", "POST", fed + "/v1/user/keys/query", "", `{"device_keys":{}}`, false, `{"device_keys":{}}`,
			func(ctx context.Context, c *Client) (any, error) {
				return c.QueryKeys(ctx, peerName, json.RawMessage(`{"device_keys":{}}`))
			}, json.RawMessage(`{"device_keys":{}}`)},
		{"one-time keys", "POST", fed + "/v1/user/keys/claim", "", `{"one_time_keys":{}}`, false, `{"one_time_keys":{}}`,
			func(ctx context.Context, c *Client) (any, error) {
				return c.ClaimKeys(ctx, peerName, json.RawMessage(`{"one_time_keys":{}}`))
			}, json.RawMessage(`{"one_time_keys":{}}`)},
		{"the version", "GET", fed + "/v1/version", "", "", true, `{"server":{"name":"Peer","version":"2"}}`,
			func(ctx context.Context, c *Client) (any, error) { return c.Version(ctx, peerName) }, ServerVersion{"Peer", "2"}},
		{"a policy signature", "POST", "/_matrix/policy/v1/sign", "", `{"a":1}`, false, `{"b.example":{"ed25519:policy_server":"abc"}}`,
			func(ctx context.Context, c *Client) (any, error) {
				return c.PolicySign(ctx, peerName, json.RawMessage(`{"a":1}`))
			}, "abc"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, p, c := conversation(t)
			p.say(tt.method, tt.path, 200, tt.answer)
			got, err := tt.call(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			uri := tt.path
			if tt.query != "" {
				uri += "?" + tt.query
			}
			want := []seen{{Method: tt.method, URI: uri, Host: peerName, SNI: peerName, Body: tt.body, Signed: !tt.unsigned}}
			if diff := cmp.Diff(want, p.asked()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRequestsAreSigned(t *testing.T) {
	_, p, c := conversation(t)
	var header string
	p.on("PUT", "/_matrix/federation/v2/send_leave/%21r/$e", func(w http.ResponseWriter, r *http.Request) {
		header = r.Header.Get("Authorization")
		fmt.Fprint(w, "{}")
	})
	if err := c.SendLeave(t.Context(), peerName, "!r", "$e", json.RawMessage(`{"b":"\u00e9","a":[1, 2]}`)); err != nil {
		t.Fatal(err)
	}
	given, err := parseCredentials(header)
	if err != nil {
		t.Fatal(err)
	}
	sent := p.asked()[0]
	content, err := canonjson.Canonical([]byte(sent.Body))
	if err != nil || string(content) != sent.Body {
		t.Errorf("the body is not canonical: %s, %v", sent.Body, err)
	}
	message := signedRequest(sent.Method, sent.URI, "us.example", peerName, content)
	public, _ := publicKey(encodeBase64(c.key[32:]))
	if given.origin != "us.example" || given.destination != peerName || given.key != "ed25519:us" ||
		!verify(public, message, encodeBase64(given.signature)) {
		t.Errorf("%s does not sign %s", header, message)
	}
}

func TestInvitesFallBackToTheOldAPIForOldRooms(t *testing.T) {
	for _, tt := range []struct {
		name    string
		version gomatrixserverlib.RoomVersion
		status  int
		ok      bool
	}{
		{"an old room on an old server", "1", 404, true},
		{"an old room on a server that says no", "2", 403, false},
		{"a new room on an old server", "9", 404, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, p, c := conversation(t)
			p.say("PUT", "/_matrix/federation/v2/invite/%21r/$e", tt.status, `{"errcode":"M_SOMETHING","error":""}`)
			p.say("PUT", "/_matrix/federation/v1/invite/%21r/$e", 200, `[200,{"event":{"a":2}}]`)
			got, err := c.Invite(t.Context(), peerName, "!r", "$e", tt.version, json.RawMessage(`{"a":1}`), raws(`{"s":1}`))
			if (err == nil) != tt.ok || tt.ok && string(got) != `{"a":2}` {
				t.Errorf("%s, %v", got, err)
			}
			asked := p.asked()
			if tt.ok && asked[1].Body != `{"a":1,"unsigned":{"invite_room_state":[{"s":1}]}}` || !tt.ok && len(asked) != 1 {
				t.Errorf("%+v", asked)
			}
		})
	}
}

func TestAnswersThatMakeNoSense(t *testing.T) {
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for _, tt := range []struct {
		name   string
		status int
		body   string
		want   error // nil: what the server said
		said   Error
	}{
		{"a refusal", 403, `{"errcode":"M_FORBIDDEN","error":"no\u0000\n` + strings.Repeat("x", 400) + `"}`, nil,
			Error{Server: peerName, Status: 403, Code: "M_FORBIDDEN", Message: "no  " + strings.Repeat("x", 296)}},
		{"too many requests", 429, `{"errcode":"M_LIMIT_EXCEEDED","retry_after_ms":1500}`, nil,
			Error{Server: peerName, Status: 429, Code: "M_LIMIT_EXCEEDED", RetryAfter: 1500 * time.Millisecond}},
		{"a refusal with a member of another type", 404, `{"errcode":"M_NOT_FOUND","error":7}`, nil,
			Error{Server: peerName, Status: 404, Code: "M_NOT_FOUND"}},
		{"a refusal without a code", 404, `{"error":"no"}`, ErrUnreachable, Error{}},
		{"a refusal of a proxy", 404, `<html>`, ErrUnreachable, Error{}},
		{"a failure", 500, `{"errcode":"M_UNKNOWN","error":"oops"}`, errTrouble, Error{}},
		{"a failure of a proxy", 502, `<html>`, ErrUnreachable, Error{}},
		{"a redirect", 302, `{}`, ErrUnreachable, Error{}},
		{"another success", 201, `{"pdus":[{}]}`, ErrUnreachable, Error{}},
		{"no JSON", 200, `hello`, errNotJSON, Error{}},
		{"nothing", 200, ``, errNotJSON, Error{}},
		{"two values", 200, `{}{}`, errNotJSON, Error{}},
		{"half a value", 200, `{"pdus":[`, errNotJSON, Error{}},
		{"another type", 200, `{"pdus":7}`, ErrUnreachable, Error{}},
		{"an array", 200, `[]`, ErrUnreachable, Error{}},
		{"no event", 200, `{"pdus":[]}`, ErrUnreachable, Error{}},
		{"too much", 200, `{"pdus":[{"x":"` + strings.Repeat("x", eventAnswer) + `"}]}`, errTooLarge, Error{}},
		{"too deep", 200, `{"pdus":[` + nested(300) + `]}`, errTooDeep, Error{}},
		{"brackets in a text", 200, `{"pdus":[{"x":"` + strings.Repeat(`[\"\\`, 300) + `"}]}`, nil, Error{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, p, c := conversation(t)
			p.say("GET", "/_matrix/federation/v1/event/$e", tt.status, tt.body)
			_, err := c.Event(t.Context(), peerName, "$e")
			var said *Error
			switch {
			case tt.want == nil && tt.said.Status == 0:
				if err != nil {
					t.Error(err)
				}
			case tt.want == nil:
				if !errors.As(err, &said) || errors.Is(err, ErrUnreachable) {
					t.Fatalf("%v", err)
				}
				if diff := cmp.Diff(tt.said, *said); diff != "" {
					t.Error(diff)
				}
			case !errors.Is(err, tt.want), !errors.Is(err, ErrUnreachable), errors.As(err, &said):
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
}

func TestAnAnswerThatNeverEndsEnds(t *testing.T) {
	_, p, c := conversation(t)
	release := make(chan struct{})
	defer close(release)
	p.on("GET", "/_matrix/federation/v1/event/$e", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"pdus":[`)
		w.(http.Flusher).Flush()
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	k := call{name: "event", method: "GET", path: "/_matrix/federation/v1/event/$e", time: 50 * time.Millisecond}
	if _, err := c.do(t.Context(), peerName, k); !errors.Is(err, ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if c.Backoff(peerName).IsZero() {
		t.Error("a server that lets others wait is not left alone")
	}
}

func TestManyTransactionsShareOneConnection(t *testing.T) {
	for _, h2 := range []bool{true, false} {
		t.Run(fmt.Sprintf("HTTP/2 %t", h2), func(t *testing.T) {
			w := newWorld(t)
			p := &peer{answers: map[string]http.HandlerFunc{}}
			server := w.serve("10.0.0.1:8448", []string{"10.0.0.1"}, p)
			if !h2 {
				server.TLS.NextProtos = []string{"http/1.1"}
			}
			c := w.client()
			for i := range 200 {
				p.say("PUT", fmt.Sprintf("/_matrix/federation/v1/send/%d", i), 200, `{"pdus":{}}`)
				if _, err := c.SendTransaction(t.Context(), "10.0.0.1", fmt.Sprint(i), json.RawMessage(`{"pdus":[]}`)); err != nil {
					t.Fatal(err)
				}
			}
			if n := len(w.dialled()); n != 1 {
				t.Errorf("%d connections", n)
			}
		})
	}
}

func TestAConnectionThatTheOtherSideClosedCostsNothing(t *testing.T) {
	w := newWorld(t)
	p := &peer{answers: map[string]http.HandlerFunc{}}
	server := w.serve("10.0.0.1:8448", []string{"10.0.0.1"}, p)
	server.TLS.NextProtos = []string{"http/1.1"}
	c := w.client()
	for i := range 20 {
		p.say("PUT", fmt.Sprintf("/_matrix/federation/v1/send/%d", i), 200, `{"pdus":{}}`)
		if _, err := c.SendTransaction(t.Context(), "10.0.0.1", fmt.Sprint(i), json.RawMessage(`{"pdus":[]}`)); err != nil {
			t.Fatalf("transaction %d: %v", i, err)
		}
		server.CloseClientConnections()
	}
}

func TestAServerDoesNotTalkToItself(t *testing.T) {
	_, _, c := conversation(t)
	if _, err := c.Version(t.Context(), "us.example"); !errors.Is(err, ErrUnreachable) {
		t.Error(err)
	}
	if !c.Backoff("us.example").IsZero() {
		t.Error("it leaves itself alone")
	}
}

func TestStreamsAreHandedOverAsTheyCome(t *testing.T) {
	w, p, c := conversation(t)
	p.say("GET", "/_matrix/federation/v1/media/download/abc", 404, `<html>`)
	w.hosts["cdn.example"] = []string{"10.0.0.2"}
	other := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("Authorization"), r.Header.Get("User-Agent"))
	})
	w.serve("10.0.0.2:443", []string{"cdn.example"}, other)
	resp, err := c.Stream(t.Context(), peerName, "/_matrix/federation/v1/media/download/abc", url.Values{"timeout_ms": {"5"}}, true)
	if err != nil || resp.StatusCode != 404 {
		t.Fatalf("%v, %v", resp, err)
	}
	resp.Body.Close()
	if asked := p.asked(); !asked[0].Signed || asked[0].URI != "/_matrix/federation/v1/media/download/abc?timeout_ms=5" {
		t.Errorf("%+v", asked)
	}
	resp, err = c.Plain(t.Context(), "https://cdn.example/x")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b [100]byte
	if n, _ := resp.Body.Read(b[:]); string(b[:n]) != "Hearth" {
		t.Errorf("it was told %q", b[:n])
	}
	for _, bad := range []string{"ftp://cdn.example/", "/x", "https://a:b@cdn.example/", "://"} {
		if _, err := c.Plain(t.Context(), bad); !errors.Is(err, ErrUnreachable) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestLargeAnswersWaitForAPlace(t *testing.T) {
	_, p, c := conversation(t)
	p.say("GET", "/_matrix/federation/v1/event_auth/%21r/$e", 200, `{"auth_chain":[{"x":"`+strings.Repeat("x", freeBytes)+`"}]}`)
	if got, err := c.EventAuth(t.Context(), peerName, "!r", "$e"); err != nil || len(got) != 1 || len(got[0]) != freeBytes+8 {
		t.Errorf("%d events, %v", len(got), err)
	}
	for range largeReads {
		c.large <- struct{}{}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := c.EventAuth(ctx, peerName, "!r", "$e"); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if !c.Backoff(peerName).IsZero() {
		t.Error("the server is not to blame")
	}
}

func TestAServerThatAnswersSlowlyWaitsForItself(t *testing.T) {
	w, p, c := conversation(t)
	large := `{"auth_chain":[{"x":"` + strings.Repeat("x", freeBytes) + `"}]}`
	goOn := make(chan struct{})
	p.on("GET", "/_matrix/federation/v1/event_auth/%21r/$e", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, large[:len(large)-1])
		_ = http.NewResponseController(w).Flush()
		select {
		case <-goOn:
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(w, "}")
	})
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			if _, err := c.EventAuth(t.Context(), peerName, "!r", "$e"); err != nil {
				t.Error(err)
			}
		})
	}
	fakeClock(c).BlockUntil(1) // the second waits for its turn, though there are places
	other := w.peer("other.example", "10.0.0.9")
	other.say("GET", "/_matrix/federation/v1/event_auth/%21r/$e", 200, large)
	if _, err := c.EventAuth(t.Context(), "other.example", "!r", "$e"); err != nil {
		t.Errorf("another server: %v", err)
	}
	close(goOn)
	all.Wait()
}

func TestConnectionsThatAreBeingMadeEndWithTheClient(t *testing.T) {
	dialling, ended := make(chan struct{}), make(chan error, 1)
	c := newWorld(t).client(func(o *Options) {
		o.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			close(dialling)
			<-ctx.Done()
			ended <- ctx.Err()
			return nil, ctx.Err()
		}
	})
	ctx, giveUp := context.WithCancel(t.Context())
	asked := make(chan error)
	go func() {
		_, err := c.Event(ctx, "10.0.0.1", "$e")
		asked <- err
	}()
	<-dialling
	giveUp()
	if err := <-asked; !errors.Is(err, ErrUnreachable) {
		t.Error(err)
	}
	c.Close()
	if err := <-ended; !errors.Is(err, context.Canceled) { // and not by dialTimeout
		t.Error(err)
	}
}

func FuzzErrors(f *testing.F) {
	f.Add([]byte(`{"errcode":"M_FORBIDDEN","error":"no","retry_after_ms":5}`))
	f.Add([]byte(`{"errcode":7,"error":{},"retry_after_ms":-1e9}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		e := parseError(peerName, 403, body)
		if e != nil && (e.Code == "" || len(e.Code) > 100 || len(e.Message) > maxErrorText || e.RetryAfter < 0 || e.RetryAfter > maxRetryAfter) {
			t.Errorf("%+v", e)
		}
	})
}

func FuzzAnswers(f *testing.F) {
	f.Add([]byte(`{"pdus":[{"a":[[]]}]}`))
	f.Add([]byte(`"\"[`))
	f.Add([]byte(`[[[[]]]]x`))
	f.Fuzz(func(t *testing.T, body []byte) {
		err := checkJSON(body)
		if err == nil && !json.Valid(body) || errors.Is(err, errNotJSON) && json.Valid(body) {
			t.Errorf("%q: %v", body, err)
		}
	})
}

func BenchmarkSendTransaction(b *testing.B) {
	w := newWorld(b)
	p := &peer{answers: map[string]http.HandlerFunc{}}
	w.serve("10.0.0.1:8448", []string{"10.0.0.1"}, p)
	p.say("PUT", "/_matrix/federation/v1/send/1", 200, `{"pdus":{}}`)
	c := w.client()
	pdu := `{"auth_events":["$a","$b","$c"],"content":{"body":"` + strings.Repeat("x", 100) + `"},"depth":7,"hashes":{"sha256":"x"},"prev_events":["$d"]}`
	body := json.RawMessage(`{"pdus":[` + pdu + strings.Repeat(","+pdu, 9) + `]}`)
	for b.Loop() {
		if _, err := c.SendTransaction(b.Context(), "10.0.0.1", "1", body); err != nil {
			b.Fatal(err)
		}
	}
}
