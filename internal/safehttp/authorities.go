package safehttp

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"sync"
)

// Authorities are those of a file, whose certificates are trusted beside those of the system's authorities. The nil *Authorities are the
// system's alone.
type Authorities struct {
	own *x509.CertPool
	all func() *x509.CertPool
}

// ReadAuthorities reads a file of certificates in PEM; without a name there are none. The file is read now, so that a mistake shows at once;
// those of the system, some hundred of them, when they are first needed.
func ReadAuthorities(file string) (*Authorities, error) {
	if file == "" {
		return nil, nil
	}
	rest, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read certificate authorities: %w", err)
	}
	var own []*x509.Certificate
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" || len(block.Headers) != 0 {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read certificate authorities: %s: %w", file, err)
		}
		own = append(own, cert)
	}
	if len(own) == 0 {
		return nil, fmt.Errorf("read certificate authorities: there is no certificate in %s", file)
	}
	return NewAuthorities(own...), nil
}

// NewAuthorities are the owners of some certificates.
func NewAuthorities(own ...*x509.Certificate) *Authorities {
	add := func(pool *x509.CertPool) *x509.CertPool {
		for _, cert := range own {
			pool.AddCert(cert)
		}
		return pool
	}
	return &Authorities{own: add(x509.NewCertPool()), all: sync.OnceValue(func() *x509.CertPool {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool() // the system has none; those of the file are good all the same
		}
		return add(pool)
	})}
}

// Pool is all of them, for RootCAs of a tls.Config. It reads the system's when it is first called.
func (a *Authorities) Pool() *x509.CertPool {
	if a == nil {
		return nil // crypto/tls reads those of the system
	}
	return a.all()
}

// Require has config accept servers that are certified for name, a DNS name or an address. What an authority of the file has signed needs none of
// the system's, and to read those takes as long as to join a room.
func (a *Authorities) Require(config *tls.Config, name string) {
	config.ServerName = name
	if a == nil {
		return
	}
	// Verification is done here, in the way of crypto/tls, for resumed sessions too.
	config.InsecureSkipVerify = true
	config.VerifyConnection = func(s tls.ConnectionState) error {
		if name == "" || len(s.PeerCertificates) == 0 {
			return errors.New("there is nobody to verify")
		}
		options := x509.VerifyOptions{Roots: a.own, DNSName: name, Intermediates: x509.NewCertPool()}
		for _, cert := range s.PeerCertificates[1:] {
			options.Intermediates.AddCert(cert)
		}
		_, err := s.PeerCertificates[0].Verify(options)
		if err != nil {
			options.Roots = a.all()
			_, err = s.PeerCertificates[0].Verify(options)
		}
		if err != nil {
			return &tls.CertificateVerificationError{UnverifiedCertificates: s.PeerCertificates, Err: err}
		}
		return nil
	}
}
