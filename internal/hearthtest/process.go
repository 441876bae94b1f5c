package hearthtest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"testing"

	"github.com/hearthd/hearth/internal/app"
	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/id"
)

// processEnv makes a test binary a server; its value is an order.
const processEnv = "HEARTHTEST_PROCESS"

// order tells a process what to be.
type order struct {
	Config   config.Config
	Exchange string // where the network is, for those outside the process of the test
}

// opened is what a process says when it listens.
type opened struct{ Client, Federation string }

// InProcess runs a server of a network in a process of its own, so that it can be killed. The test binary needs a TestMain that calls Main.
// What a test reads from a database, as Agree does, it can read only after the server was opened again, which is then in the process of the
// test.
func InProcess() Option { return func(s *Server) { s.process = &exec.Cmd{} } }

// Main is for TestMain: it makes the test binary a server where it was started as one, and runs the tests otherwise.
func Main(m *testing.M) int {
	text := os.Getenv(processEnv)
	if text == "" {
		return m.Run()
	}
	if err := serve(text); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return 1
}

// serve is a server until it is killed, or whoever started it has ended.
func serve(text string) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	way := exchange{at: o.Exchange, from: id.ServerName(o.Config.Server.Name)}
	a, err := app.New(context.Background(), o.Config, app.Options{Version: Version, LogTo: os.Stderr, Resolver: way, Dial: way.DialContext})
	if err != nil {
		return err
	}
	ended := make(chan error, 2)
	go func() { ended <- a.Run(context.Background()) }()
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		ended <- err
	}()
	select {
	case <-a.Ready():
	case err := <-ended:
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(opened{a.Addr("server.listen").String(), a.Addr("federation.listen").String()}); err != nil {
		return err
	}
	return <-ended
}

// startProcess starts the server as a process.
func (s *Server) startProcess() {
	s.t.Helper()
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	text, err := json.Marshal(order{Config: s.cfg, Exchange: s.net.exchange()})
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), processEnv+"="+string(text))
	cmd.Stderr = s.t.Output()
	_, errIn := cmd.StdinPipe()
	out, errOut := cmd.StdoutPipe()
	if errIn != nil || errOut != nil {
		s.t.Fatal(errIn, errOut)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.process = cmd
	s.stop = func() error {
		s.http.CloseIdleConnections()
		err := cmd.Process.Kill()
		cmd.Wait() // says that it was killed
		return err
	}
	s.http = newClient()
	var where opened
	if err := json.NewDecoder(bufio.NewReader(out)).Decode(&where); err != nil {
		s.t.Fatalf("start %s as a process: %v", s.Name, err)
	}
	s.URL = "http://" + where.Client
	s.net.signsAs(s.signer())
	s.net.open(s.Name, where.Federation)
}

// Kill ends a server that has a process of its own as kill -9 does. Open starts it again on the same data, in the process of the test.
func (s *Server) Kill() {
	s.t.Helper()
	s.end()
	s.process = nil
}

// exchange is the network for a process outside that of the test: it asks for each connection with a line of JSON.
type exchange struct {
	at   string
	from id.ServerName
}

// asked is what a process wants: the address of a name, or a connection.
type asked struct {
	From         id.ServerName
	Lookup, Dial string
}

// exchange opens the network to processes and returns where.
func (n *Network) exchange() string {
	n.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go n.answer(conn)
		}
	}()
	return listener.Addr().String()
}

// answer serves one connection of a process.
func (n *Network) answer(conn net.Conn) {
	defer conn.Close()
	line, err := bufio.NewReaderSize(singleBytes{conn}, 16).ReadBytes('\n')
	var want asked
	if err != nil || json.Unmarshal(line, &want) != nil {
		return
	}
	socket := n.Socket(want.From)
	if want.Lookup != "" {
		if found, err := socket.LookupNetIP(context.Background(), "ip", want.Lookup); err == nil {
			json.NewEncoder(conn).Encode(found)
		}
		return
	}
	other, err := socket.DialContext(context.Background(), "tcp", want.Dial)
	if err != nil {
		return
	}
	defer other.Close()
	if _, err := conn.Write([]byte("\n")); err != nil {
		return
	}
	done := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{conn, other}, {other, conn}} {
		go func() {
			io.Copy(way[0], way[1])
			done <- struct{}{}
		}()
	}
	<-done // either side has hung up
}

// singleBytes keeps a buffered reader from taking more than the line.
type singleBytes struct{ net.Conn }

func (s singleBytes) Read(p []byte) (int, error) { return s.Conn.Read(p[:1]) }

// ask sends a request to the exchange.
func (e exchange) ask(ctx context.Context, want asked) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", e.at)
	if err != nil {
		return nil, err
	}
	want.From = e.from
	if err := json.NewEncoder(conn).Encode(want); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// LookupNetIP resolves the name of a server.
func (e exchange) LookupNetIP(ctx context.Context, _, name string) ([]netip.Addr, error) {
	conn, err := e.ask(ctx, asked{Lookup: name})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	var found []netip.Addr
	if err := json.NewDecoder(conn).Decode(&found); err != nil {
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	return found, nil
}

// LookupSRV finds no records.
func (e exchange) LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error) {
	return Socket{}.LookupSRV(ctx, service, proto, name)
}

// DialContext connects to the address of a server.
func (e exchange) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := e.ask(ctx, asked{Dial: address})
	if err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		conn.Close()
		return nil, &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("%w: %s", ErrRefused, address)}
	}
	return conn, nil
}
