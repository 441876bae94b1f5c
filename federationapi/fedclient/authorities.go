package fedclient

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"sync"
)

// Roots returns the authorities that certificates may come from. It may take its time when it is first called.
type Roots func() *x509.CertPool

// RootCAs returns the authorities of the system and, if one is named, those in a file. The file is read now, so that a mistake shows at
// once; those of the system, some hundred of them, with the first connection.
func RootCAs(file string) (Roots, error) {
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
	return sync.OnceValue(func() *x509.CertPool {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool() // the system has none; those of the file are good all the same
		}
		for _, cert := range own {
			pool.AddCert(cert)
		}
		return pool
	}), nil
}
