// Command proxy stands in front of a homeserver in a run of Complement and checks what that answers, and what other servers of the run ask of
// it, against the schemas of the specification. What is wrong it appends to a report, two lines each, which several proxies may share.
//
//	proxy <report> <command> <arguments...>
//
// The environment is that of build/complement/launch: the proxy takes the addresses that are meant for the server and gives that others.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"runtime"
	"sync"
	"syscall"

	"github.com/hearthd/hearth/internal/spec"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: proxy <report> <command> <arguments...>")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// listen is a setting of an address, and which scheme is spoken there.
type listen struct{ setting, scheme string }

// run is the proxy and the server until either ends.
func run(report string, command []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	to, err := os.OpenFile(report, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer to.Close()
	watcher := spec.Watcher{
		Report:    (&writer{to: to}).write,
		Requests:  fromHomeserver,
		Responses: func(*http.Request) bool { return true },
	}
	server := exec.CommandContext(ctx, command[0], command[1:]...)
	server.Cancel = func() error { return server.Process.Signal(syscall.SIGTERM) }
	server.Stdout, server.Stderr, server.Env = os.Stdout, os.Stderr, os.Environ()
	// Whoever kills the proxy means the server, too; it hears of nothing else by itself. The signal comes when the thread ends that started it.
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	runtime.LockOSThread()
	failed := make(chan error, 3)
	for _, l := range []listen{{"HEARTH_SERVER_LISTEN", "http"}, {"HEARTH_FEDERATION_LISTEN", "https"}} {
		from, behind, err := l.open()
		if err != nil {
			return err
		}
		server.Env = append(server.Env, l.setting+"="+behind)
		proxy := &http.Server{Handler: watcher.Wrap(forward(l.scheme, behind))}
		defer proxy.Close()
		go func() { failed <- proxy.Serve(from) }()
	}
	if err := server.Start(); err != nil {
		return err
	}
	go func() { failed <- server.Wait() }()
	err = <-failed
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
		return nil
	}
	return err
}

// open opens the address of the setting, and finds another one for the server.
func (l listen) open() (from net.Listener, behind string, err error) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	behind = free.Addr().String()
	defer free.Close()
	if from, err = net.Listen("tcp", os.Getenv(l.setting)); err != nil || l.scheme == "http" {
		return from, behind, err
	}
	certificate, err := tls.LoadX509KeyPair(os.Getenv("HEARTH_FEDERATION_TLS_CERTIFICATE"), os.Getenv("HEARTH_FEDERATION_TLS_KEY"))
	return tls.NewListener(from, &tls.Config{Certificates: []tls.Certificate{certificate}}), behind, err
}

// forward hands requests on as they are. Where the server does not answer, the connection breaks.
func forward(scheme, behind string) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: scheme, Host: behind})
			r.Out.Host, r.Out.URL.RawQuery = r.In.Host, r.In.URL.RawQuery
		},
		FlushInterval: -1,
		// The server is known by its port, not by a name in its certificate.
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableCompression: true, MaxIdleConnsPerHost: 100,
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
}

// homeserver is how Complement calls the servers under test. Its own are called by their addresses.
var homeserver = regexp.MustCompile(`\borigin="?hs\d+"?[,\s]`)

func fromHomeserver(r *http.Request) bool {
	return homeserver.MatchString(r.Header.Get("Authorization") + ",")
}

// writer writes findings, each at once.
type writer struct {
	mu sync.Mutex
	to *os.File
}

func (w *writer) write(found fmt.Stringer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := fmt.Fprintln(w.to, found); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
	}
}
