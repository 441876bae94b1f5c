package spec

import (
	"net/http"
	"path"
	"slices"
	"strings"
)

// exception is a violation that is none.
type exception struct {
	operation string // the operationId, empty for paths of none
	status    int    // 0: a request
	at        string // a pattern of path.Match for the place in the body
	problem   string // how the problem begins
	query     string // a part of the query
	why       string
}

// exceptions are all there are.
var exceptions = []exception{
	{
		operation: "sync", status: http.StatusOK, at: "/rooms/*/*/*/events/*", problem: "missing propert", query: "event_fields",
		why: "a client that wants only some fields of events gets no others",
	},
	{
		operation: "sync", status: http.StatusOK, at: "/rooms/*/*/*/events/*", problem: "missing propert", query: "event_format",
		why: "a client that wants events as servers have them gets no event_id: it is made from the rest",
	},
	{
		operation: "sendInviteV2", status: http.StatusOK, at: "/event", problem: "missing property 'origin'",
		why: "it is the event of another server, with a signature added: what that has left out is not ours to add",
	},
	{
		operation: "getRoomStateWithKey", status: http.StatusOK, at: "", problem: "'oneOf' failed, subschemas 0, 1 matched", query: "format=event",
		why: "the schema is wrong: a whole event is also an object of any kind, which is the other of the two",
	},
	{
		operation: "sendMessage", status: http.StatusOK, at: "", problem: "missing property 'event_id'", query: "msc4140.delay",
		why: "an event that is to be sent later has no id yet, but its delay has (MSC4140)",
	},
	{
		operation: "setRoomStateWithKey", status: http.StatusOK, at: "", problem: "missing property 'event_id'", query: "msc4140.delay",
		why: "an event that is to be sent later has no id yet, but its delay has (MSC4140)",
	},
	{
		operation: "getJoinedMembersByRoom", status: http.StatusOK, at: "/joined/*/*", problem: "got null, want string",
		why: "Complement, and SyTest before it, want both members there, and null where somebody has no name or picture",
	},
	{
		operation: "sendMessage", status: http.StatusOK, at: "", problem: "missing property 'event_id'", query: "org.matrix.msc4140.delay=",
		why: "an event that is sent later has no id yet but a delay_id (MSC4140)",
	},
	{
		operation: "setRoomStateWithKey", status: http.StatusOK, at: "", problem: "missing property 'event_id'", query: "org.matrix.msc4140.delay=",
		why: "as above",
	},
	{
		operation: "getTurnServer", status: http.StatusOK, at: "", problem: "missing properties 'username', 'password', 'uris', 'ttl'",
		why: "nothing else says that a server has no relay, and clients know the empty object from other servers",
	},
	{
		status: http.StatusBadRequest, problem: `the type is "text/html`,
		why: "what is wrong with the link of a letter is told to people; it is no operation of the specification",
	},
}

func (e exception) covers(v Violation) bool {
	at, _ := path.Match(e.at, v.At)
	return e.operation == v.Operation && e.status == v.Status && at && strings.HasPrefix(v.Problem, e.problem) && strings.Contains(v.Query, e.query)
}

// excepted tells whether an exception covers the violation.
func (v Violation) excepted() bool {
	return slices.ContainsFunc(exceptions, func(e exception) bool { return e.covers(v) })
}

// pages are the paths that people open in a browser, which answer them with pages, errors too. The specification wants one that lets them choose
// a provider, and a friendly one for a provider that there is not, but has only JSON in its schemas.
//
// Spec: client-server-api#get_matrixclientv3loginssoredirect, client-server-api#fallback
var pages = []string{"/_matrix/client/v3/login/sso/redirect", "/_matrix/client/v3/auth/", "/_matrix/hearth/"}

// page tells whether it is a page for people that was answered with.
func (x Exchange) page() bool {
	return strings.HasPrefix(x.Header.Get("Content-Type"), "text/html") && slices.ContainsFunc(pages, func(path string) bool { return strings.HasPrefix(x.Path, path) })
}
