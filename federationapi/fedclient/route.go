package fedclient

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/hearthd/hearth/internal/id"
)

// defaultPort is where servers listen that name no other.
const defaultPort = 8448

// route is where the requests to a server go and as what. It is not changed once it is made.
//
// Spec: server-server-api#resolving-server-names
type route struct {
	targets     []target // tried in this order
	host        string   // the Host header
	certificate string   // what the certificate has to be good for: a DNS name or an address
	key         string   // tells routes apart: what connections are kept by
}

func newRoute(host, certificate string, targets ...target) *route {
	hash := sha256.New()
	fmt.Fprintf(hash, "%q %q", host, certificate)
	for _, t := range targets {
		fmt.Fprintf(hash, " %q %d", t.host, t.port)
	}
	return &route{targets: targets, host: host, certificate: certificate, key: hex.EncodeToString(hash.Sum(nil)[:16])}
}

// direct is the route to a name that is an address or has a port, or to port 8448 of another.
func direct(name id.ServerName) *route {
	host, port := name.Split()
	if port == 0 {
		port = defaultPort
	}
	return newRoute(string(name), host, target{host, port})
}

// isDirect says that a name says itself where its server is: it is an address, or has a port.
func isDirect(name id.ServerName) bool {
	if _, ok := name.Addr(); ok {
		return true
	}
	_, port := name.Split()
	return port != 0
}
