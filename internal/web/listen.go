package web

import (
	"net/http"
	"time"
)

// NewServer returns an http.Server for addr and handler with limits on what a client can hold up. Bodies and answers have deadlines per
// piece, set where they are read and written, and no limit for the whole: a sync waits, an upload takes as long as it moves.
func NewServer(addr string, handler http.Handler) *http.Server {
	return &http.Server{
		Addr:              addr,
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
}
