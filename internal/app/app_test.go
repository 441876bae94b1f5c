package app

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hearthd/hearth/internal/config"
)

// certify writes a certificate for 127.0.0.1, with a serial number, and its key.
func certify(t *testing.T, cfg *config.Config, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{
		cfg.Federation.TLSCertificate: {Type: "CERTIFICATE", Bytes: der}, cfg.Federation.TLSKey: {Type: "PRIVATE KEY", Bytes: secret},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestListeners(t *testing.T) {
	dir := t.TempDir()
	cfg := config.Default()
	cfg.Server.DataDir = filepath.Join(dir, "data")
	cfg.Server.AdminSocket = ""
	cfg.Server.Listen, cfg.Server.MetricsListen, cfg.Federation.Listen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.Federation.TLSCertificate, cfg.Federation.TLSKey = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	cfg.Passwords.HashMemory, cfg.Passwords.HashIterations = 64*config.KiB, 1
	certify(t, &cfg, 1)
	a, err := New(t.Context(), cfg, Options{Version: "test", LogTo: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	<-a.Ready()

	// The certificate is nobody's but the test's; which one it is is what is asked.
	get := func(url string) (body string, state *tls.ConnectionState) {
		t.Helper()
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
		res, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d %s, %v", url, res.StatusCode, text, err)
		}
		return string(text), res.TLS
	}
	const versions = "/_matrix/client/versions"
	plain, _ := get("http://" + a.Addr("server.listen").String() + versions)
	secure := "https://" + a.Addr("federation.listen").String() + versions
	serial := func() int64 {
		t.Helper()
		body, state := get(secure)
		if body != plain {
			t.Errorf("the listeners differ: %s", body)
		}
		return state.PeerCertificates[0].SerialNumber.Int64()
	}
	if n := serial(); n != 1 {
		t.Errorf("certificate %d", n)
	}
	certify(t, &cfg, 2)
	a.Reload(cfg)
	if n := serial(); n != 2 {
		t.Errorf("certificate %d after the reload", n)
	}
	if err := os.WriteFile(cfg.Federation.TLSKey, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	a.Reload(cfg)
	if n := serial(); n != 2 {
		t.Errorf("certificate %d after a reload of a broken one", n)
	}
	metrics, _ := get("http://" + a.Addr("server.metrics_listen").String() + "/metrics")
	if want := `hearth_http_seconds_count{code="200",route="GET /_matrix/client/versions"}`; !strings.Contains(metrics, want) {
		t.Errorf("the metrics lack %s", want)
	}

	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

func TestASigningKeyIsNotReplaced(t *testing.T) {
	cfg := config.Default()
	cfg.Server.DataDir = t.TempDir()
	cfg.Passwords.HashMemory, cfg.Passwords.HashIterations = 64*config.KiB, 1
	open := func() (*App, error) { return New(t.Context(), cfg, Options{}) }
	a, err := open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Console().CreateUser(t.Context(), "ann", "correct horse", true); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(cfg.File(cfg.Server.SigningKeyPath)); err != nil {
		t.Fatal(err)
	}
	if a, err := open(); err == nil {
		a.Close()
		t.Error("the server started with another key")
	} else if !strings.Contains(err.Error(), "restore the key from a backup") {
		t.Errorf("got %v", err)
	}
}
