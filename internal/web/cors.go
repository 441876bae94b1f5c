package web

import "net/http"

// cors holds the values of headers that are the same in every answer. They are shared and never appended to.
type cors struct {
	origin, methods, headers, expose, maxAge []string
	json                                     []string
}

// Spec: client-server-api#web-browser-clients
func newCORS() cors {
	return cors{
		origin:  []string{"*"},
		methods: []string{"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"},
		headers: []string{"X-Requested-With, Content-Type, Authorization, Date, Range, If-Range, If-None-Match, If-Modified-Since"},
		// What scripts may read beyond the safe-listed few: when to try again, the name of a file, and what ranges need.
		expose: []string{"Retry-After, Content-Disposition, Content-Range, Accept-Ranges, ETag, Location, X-Request-Id"},
		maxAge: []string{"86400"},
		json:   []string{"application/json"},
	}
}

func (c *cors) set(h http.Header) {
	h["Access-Control-Allow-Origin"] = c.origin
	h["Access-Control-Allow-Methods"] = c.methods
	h["Access-Control-Allow-Headers"] = c.headers
	h["Access-Control-Expose-Headers"] = c.expose
	h["Access-Control-Max-Age"] = c.maxAge
}
