package safehttp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"
)

// authority signs certificates.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	a.cert, a.key = a.sign(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// sign makes a certificate for a new key, signed by the authority, or by itself for its own. It is valid now unless template says when.
func (a *authority) sign(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(1)
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// serve listens with a certificate.
func serve(t *testing.T, chain ...*x509.Certificate) func(key *ecdsa.PrivateKey) net.Listener {
	return func(key *ecdsa.PrivateKey) net.Listener {
		t.Helper()
		c := tls.Certificate{PrivateKey: key}
		for _, cert := range chain {
			c.Certificate = append(c.Certificate, cert.Raw)
		}
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{c}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					_, _ = conn.Write([]byte("x")) // after the handshake; the ticket comes with it
					_ = conn.Close()
				}()
			}
		}()
		return l
	}
}

// reach connects and returns whether the session was resumed.
func reach(l net.Listener, config *tls.Config) (resumed bool, err error) {
	conn, err := tls.Dial("tcp", l.Addr().String(), config)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	_, err = conn.Read(make([]byte, 1))
	return conn.ConnectionState().DidResume, err
}

func TestAuthoritiesOfAFileAndOfTheSystem(t *testing.T) {
	ours, system, stranger := newAuthority(t), newAuthority(t), newAuthority(t)
	trusted := NewAuthorities(ours.cert)
	readSystem := false
	trusted.all = func() *x509.CertPool {
		readSystem = true
		pool := x509.NewCertPool()
		pool.AddCert(ours.cert)
		pool.AddCert(system.cert)
		return pool
	}
	named := func() *x509.Certificate { return &x509.Certificate{DNSNames: []string{"b.example"}} }
	expired, address := named(), &x509.Certificate{IPAddresses: []net.IP{net.IPv4(10, 0, 0, 1)}}
	expired.NotAfter = time.Now().Add(-time.Hour)
	client := named()
	client.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	for _, test := range []struct {
		what   string
		by     *authority
		cert   *x509.Certificate
		name   string
		good   bool
		system bool // they had to be asked
	}{
		{"of the file", ours, named(), "b.example", true, false},
		{"of the system", system, named(), "b.example", true, true},
		{"of a stranger", stranger, named(), "b.example", false, true},
		{"for another name", ours, named(), "c.example", false, true},
		{"for another name, of the system", system, named(), "c.example", false, true},
		{"expired", ours, expired, "b.example", false, true},
		{"not for servers", ours, client, "b.example", false, true},
		{"for an address", ours, address, "10.0.0.1", true, false},
		{"for another address", ours, address, "10.0.0.2", false, true},
		{"for nobody", ours, named(), "", false, false},
	} {
		readSystem = false
		cert, key := test.by.sign(test.cert)
		config := &tls.Config{}
		trusted.Require(config, test.name)
		if _, err := reach(serve(t, cert)(key), config); (err == nil) != test.good {
			t.Errorf("%s: %v", test.what, err)
		}
		if readSystem != test.system {
			t.Errorf("%s: the authorities of the system were asked: %t", test.what, readSystem)
		}
	}
}

func TestAuthoritiesWithIntermediates(t *testing.T) {
	ours := newAuthority(t)
	between := &authority{t: t}
	between.cert, between.key = ours.sign(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	cert, key := between.sign(&x509.Certificate{DNSNames: []string{"b.example"}})
	config := &tls.Config{}
	NewAuthorities(ours.cert).Require(config, "b.example")
	if _, err := reach(serve(t, cert, between.cert)(key), config); err != nil {
		t.Error(err)
	}
	if _, err := reach(serve(t, cert)(key), config); err == nil {
		t.Error("a chain with a gap was accepted")
	}
}

func TestResumedSessionsAreVerifiedToo(t *testing.T) {
	ours, other := newAuthority(t), newAuthority(t)
	cert, key := ours.sign(&x509.Certificate{DNSNames: []string{"b.example"}})
	l := serve(t, cert)(key)
	sessions := tls.NewLRUClientSessionCache(1)
	try := func(a *Authorities) (bool, error) {
		config := &tls.Config{ClientSessionCache: sessions}
		a.Require(config, "b.example")
		return reach(l, config)
	}
	if resumed, err := try(NewAuthorities(ours.cert)); err != nil || resumed {
		t.Fatalf("the first: %t, %v", resumed, err)
	}
	if resumed, err := try(NewAuthorities(ours.cert)); err != nil || !resumed {
		t.Errorf("the second: %t, %v", resumed, err)
	}
	if _, err := try(NewAuthorities(other.cert)); err == nil {
		t.Error("an authority that is not trusted any more was accepted")
	}
}

func TestNoAuthoritiesOfOnesOwn(t *testing.T) {
	var none *Authorities
	config := &tls.Config{}
	none.Require(config, "b.example")
	if config.InsecureSkipVerify || config.VerifyConnection != nil || config.RootCAs != nil || config.ServerName != "b.example" {
		t.Errorf("crypto/tls is not left to do it: %+v", config)
	}
	if none.Pool() != nil {
		t.Error("there is a pool")
	}
}
