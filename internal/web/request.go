package web

import (
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
)

// Request is what a handler gets to see. It must not be used after the handler has returned.
type Request struct {
	Caller Caller
	Origin id.ServerName // of routes for other servers: who has signed the request
	Header http.Header
	Method string

	http     *http.Request
	server   *Server
	endpoint *endpoint
	recorder *recorder
	vars     map[string]string
	query    url.Values
	limit    int64  // of the body, in bytes
	received []byte // the body, where it had to be read to know who has sent it
	id       string
	failure  error  // what a 5xx came from
	places   places // that it takes until it has been answered
}

// HTTP returns the request below, for what this type does not offer. Do not read its body.
func (r *Request) HTTP() *http.Request { return r.http }

// Host returns the name under which the client reached the server.
func (r *Request) Host() string { return r.http.Host }

// Pattern returns the path template of the route.
func (r *Request) Pattern() string { return r.endpoint.Path }

// ClientIP returns the address of the client. X-Forwarded-For counts only where it was written by trusted proxies.
func (r *Request) ClientIP() netip.Addr {
	return clientIP(r.http.RemoteAddr, r.Header.Values("X-Forwarded-For"), r.server.proxies)
}

// setVars unescapes the variables of the path, once.
func (r *Request) setVars(escaped map[string]string) error {
	for name, v := range escaped {
		if strings.IndexByte(v, '%') >= 0 {
			var err error
			if v, err = url.PathUnescape(v); err != nil {
				return merr.Newf(merr.InvalidParam, "%s is not correctly escaped", name)
			}
			escaped[name] = v
		}
		if !utf8.ValidString(v) || strings.IndexByte(v, 0) >= 0 {
			return merr.Newf(merr.InvalidParam, "%s is not valid text", name)
		}
	}
	r.vars = escaped
	return nil
}

// Var returns a variable of the path: legal UTF-8 without NUL, not empty. It is empty if the path has no such variable.
func (r *Request) Var(name string) string { return r.vars[name] }

// parsed is the common part of the typed variables.
func parsed[T any](r *Request, name string, parse func(string) (T, error)) (T, error) {
	v, err := parse(r.vars[name])
	if err != nil {
		return v, merr.Newf(merr.InvalidParam, "%s: %v", name, err)
	}
	return v, nil
}

// UserID returns a variable of the path as a user id, or M_INVALID_PARAM.
func (r *Request) UserID(name string) (id.UserID, error) { return parsed(r, name, id.ParseUserID) }

// RoomID returns a variable of the path as a room id, or M_INVALID_PARAM.
func (r *Request) RoomID(name string) (id.RoomID, error) { return parsed(r, name, id.ParseRoomID) }

// EventID returns a variable of the path as an event id, or M_INVALID_PARAM.
func (r *Request) EventID(name string) (id.EventID, error) { return parsed(r, name, id.ParseEventID) }

// RoomAlias returns a variable of the path as a room alias, or M_INVALID_PARAM.
func (r *Request) RoomAlias(name string) (id.RoomAlias, error) {
	return parsed(r, name, id.ParseRoomAlias)
}

// DeviceID returns a variable of the path as a device id, or M_INVALID_PARAM.
func (r *Request) DeviceID(name string) (id.DeviceID, error) {
	return parsed(r, name, id.ParseDeviceID)
}

// ServerName returns a variable of the path as the name of a server, or M_INVALID_PARAM.
func (r *Request) ServerName(name string) (id.ServerName, error) {
	return parsed(r, name, id.ParseServerName)
}

// MXC returns two variables of the path as a content URI, or M_INVALID_PARAM.
func (r *Request) MXC(server, mediaID string) (id.MXC, error) {
	m, err := id.NewMXC(r.vars[server], r.vars[mediaID])
	if err != nil {
		return id.MXC{}, merr.New(merr.InvalidParam, err.Error())
	}
	return m, nil
}

// Query returns the parameters of the query. What is not correctly escaped in it is left out.
func (r *Request) Query() url.Values {
	if r.query == nil {
		r.query = r.http.URL.Query()
	}
	return r.query
}

// IntQuery returns a number of the query, def if it is absent. More than most becomes most, for that is what a limit is for; less than
// least, and what is no number, is M_INVALID_PARAM.
func (r *Request) IntQuery(name string, def, least, most int) (int, error) {
	text := r.Query().Get(name)
	if text == "" {
		return def, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil:
		return 0, merr.Newf(merr.InvalidParam, "Query parameter %s is not an integer", name)
	case n < int64(least):
		return 0, merr.Newf(merr.InvalidParam, "Query parameter %s must be at least %d", name, least)
	case n > int64(most):
		return most, nil
	}
	return int(n), nil
}

// BoolQuery returns a truth value of the query, def if it is absent, M_INVALID_PARAM if it is neither true nor false.
func (r *Request) BoolQuery(name string, def bool) (bool, error) {
	switch r.Query().Get(name) {
	case "":
		return def, nil
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, merr.Newf(merr.InvalidParam, "Query parameter %s is neither true nor false", name)
}

// RequiredQuery returns a parameter of the query that must be there, or M_MISSING_PARAM.
func (r *Request) RequiredQuery(name string) (string, error) {
	v := r.Query().Get(name)
	if v == "" {
		return "", merr.Newf(merr.MissingParam, "Query parameter %s is missing", name)
	}
	return v, nil
}
