package fedclient

import (
	"crypto/x509"
	"fmt"
	"os"
)

// RootCAs returns the authorities of the system and, if one is named, those in a file.
func RootCAs(file string) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("read the system's certificate authorities: %w", err)
	}
	if file == "" {
		return pool, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read certificate authorities: %w", err)
	}
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("read certificate authorities: there is no certificate in %s", file)
	}
	return pool, nil
}
