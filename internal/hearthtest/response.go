package hearthtest

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/tidwall/gjson"
)

// Fields is a JSON object in the making.
type Fields map[string]any

// Response is an answer of a server. Its JSON is read through gjson, r.Get("rooms.join"), or At.
type Response struct {
	gjson.Result
	Status int
	Header http.Header
	Body   []byte
}

// send makes a request. That the server has failed is an error.
func send(client *http.Client, req *http.Request) (Response, error) {
	resp, err := client.Do(req)
	if err != nil {
		return Response{}, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return Response{}, fmt.Errorf("%s %s: read the answer: %w", req.Method, req.URL.Path, err)
	}
	if resp.StatusCode == http.StatusInternalServerError {
		return Response{}, fmt.Errorf("%s %s: the server failed: %s", req.Method, req.URL.Path, answer)
	}
	return Response{Result: gjson.ParseBytes(answer), Status: resp.StatusCode, Header: resp.Header, Body: answer}, nil
}

// Refused reports whether the answer is the Matrix error with this status and errcode.
func (r Response) Refused(status int, errcode string) bool {
	return r.Status == status && r.Get("errcode").Str == errcode && r.Get("error").Type == gjson.String
}

// At returns what is below the keys, each taken as it is: r.At("rooms", "join", room, "timeline").
func (r Response) At(keys ...any) gjson.Result { return at(r.Result, keys...) }

func at(r gjson.Result, keys ...any) gjson.Result {
	parts := make([]string, len(keys))
	for i, k := range keys {
		parts[i] = gjson.Escape(fmt.Sprint(k))
	}
	return r.Get(strings.Join(parts, "."))
}

// Path joins the segments of a path, strings or ids, escaping each: Path("rooms", room, "state", "m.room.name", "").
func Path(segments ...any) string {
	parts := make([]string, len(segments))
	for i, s := range segments {
		parts[i] = url.PathEscape(fmt.Sprint(s))
	}
	return strings.Join(parts, "/")
}

// Event is an event in the form clients get.
type Event struct{ gjson.Result }

// ID is the event id.
func (e Event) ID() string { return e.Get("event_id").Str }

// Type is the event type.
func (e Event) Type() string { return e.Get("type").Str }

// Sender is the user id of who sent it.
func (e Event) Sender() string { return e.Get("sender").Str }

// Body is the text of a message.
func (e Event) Body() string { return e.At("content", "body").Str }

// At returns what is below the keys, each taken as it is: e.At("unsigned", "m.relations", "m.thread").
func (e Event) At(keys ...any) gjson.Result { return at(e.Result, keys...) }

// Events takes a list of events apart.
func Events(list gjson.Result) []Event {
	var out []Event
	for _, e := range list.Array() {
		out = append(out, Event{e})
	}
	return out
}
