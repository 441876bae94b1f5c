package hearthtest

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"

	"github.com/matrix-org/gomatrixserverlib"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/identity"
)

// IdentityServer is an identity server that does as it is told.
type IdentityServer struct {
	// Name is what clients call it.
	Name string

	net    *Network
	public ed25519.PublicKey
	key    ed25519.PrivateKey

	mu      sync.Mutex
	users   map[string]id.UserID // by the hash of their address
	proven  map[string]string    // addresses by the session that has proven them
	letters []Fields
	unbinds []Unbind
	revoked bool
	answer  func(path string) (int, any)
}

// IdentityToken is the token that everybody has for it.
const IdentityToken = "identity-token"

const pepper = "salt"

// IdentityServer starts an identity server, which ends with the test.
func (n *Network) IdentityServer() *IdentityServer {
	n.t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		n.t.Fatal(err)
	}
	s := &IdentityServer{net: n, public: public, key: key, users: map[string]id.UserID{}, proven: map[string]string{}}
	mux := http.NewServeMux()
	const v2 = "/_matrix/identity/v2/"
	mux.HandleFunc("GET "+v2+"hash_details", s.with(func(Fields) (int, any) {
		return 200, Fields{"lookup_pepper": pepper, "algorithms": []string{"none", "sha256"}}
	}))
	mux.HandleFunc("POST "+v2+"lookup", s.with(s.lookup))
	mux.HandleFunc("POST "+v2+"store-invite", s.with(s.store))
	mux.HandleFunc("POST "+v2+"3pid/bind", s.with(s.bind))
	mux.HandleFunc("POST "+v2+"3pid/unbind", s.unbind)
	mux.HandleFunc("GET "+v2+"pubkey/isvalid", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.reply(w, 200, Fields{"valid": !s.revoked && r.URL.Query().Get("public_key") == s.publicKey()})
	})
	server := httptest.NewUnstartedServer(mux)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{n.ca.issue("127.0.0.1")}}
	server.StartTLS()
	n.t.Cleanup(server.Close)
	s.Name = strings.TrimPrefix(server.URL, "https://")
	return s
}

func (s *IdentityServer) publicKey() string { return base64.RawStdEncoding.EncodeToString(s.public) }

// Knows makes an e-mail address a user's.
func (s *IdentityServer) Knows(address string, user id.UserID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[identity.Hash(identity.Threepid{Medium: "email", Address: address}, pepper)] = user
}

// Owner is whose an e-mail address is.
func (s *IdentityServer) Owner(address string) id.UserID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.users[identity.Hash(identity.Threepid{Medium: "email", Address: address}, pepper)]
}

// Prove makes a session that proves an e-mail address to be somebody's. Its secret is "secret".
func (s *IdentityServer) Prove(session, address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proven[session] = address
}

// Unbind is a request to take back whose an address is.
type Unbind struct {
	Authorization []string
	Body          Fields
}

// Unbinds is all such requests so far.
func (s *IdentityServer) Unbinds() []Unbind {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.unbinds)
}

// Answer makes the server answer something else than it would, where the function does not return a status of 0.
func (s *IdentityServer) Answer(fn func(path string) (int, any)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = fn
}

// Revoke makes the key invalid.
func (s *IdentityServer) Revoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revoked = true
}

// Letters is what was to be written to the owners of addresses.
func (s *IdentityServer) Letters() []Fields {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.letters
}

// Sign is what the server gives to a user who proves to own the address of the invite of the sender with the token.
func (s *IdentityServer) Sign(sender, user id.UserID, token string) json.RawMessage {
	s.net.t.Helper()
	text, err := json.Marshal(Fields{"mxid": user, "token": token, "sender": sender})
	if err != nil {
		s.net.t.Fatal(err)
	}
	signed, err := gomatrixserverlib.SignJSON(s.Name, "ed25519:0", s.key, text)
	if err != nil {
		s.net.t.Fatal(err)
	}
	return signed
}

func (s *IdentityServer) reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that has heard enough hangs up
}

// read reads the body, unless something else is to be answered.
func (s *IdentityServer) read(w http.ResponseWriter, r *http.Request) (Fields, bool) {
	if s.answer != nil {
		if status, body := s.answer(r.URL.Path); status != 0 {
			s.reply(w, status, body)
			return nil, false
		}
	}
	body := Fields{}
	if r.Method == http.MethodPost {
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			s.net.t.Errorf("identity server: %v", err)
		}
	}
	return body, true
}

// with looks at the token and reads the body.
func (s *IdentityServer) with(fn func(body Fields) (int, any)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		body, ok := s.read(w, r)
		if !ok {
			return
		}
		if r.Header.Get("Authorization") != "Bearer "+IdentityToken {
			s.reply(w, http.StatusUnauthorized, Fields{"errcode": "M_UNKNOWN_TOKEN", "error": "Who are you?"})
			return
		}
		status, answer := fn(body)
		s.reply(w, status, answer)
	}
}

func (s *IdentityServer) lookup(body Fields) (int, any) {
	if body["algorithm"] != "sha256" || body["pepper"] != pepper {
		return 400, Fields{"errcode": "M_INVALID_PEPPER", "error": "Another pepper"}
	}
	found := Fields{}
	for _, address := range body["addresses"].([]any) {
		if user := s.users[address.(string)]; user != "" {
			found[address.(string)] = user
		}
	}
	return 200, Fields{"mappings": found}
}

func (s *IdentityServer) store(body Fields) (int, any) {
	s.letters = append(s.letters, body)
	return 200, Fields{"token": "token" + strings.Repeat("x", len(s.letters)), "display_name": "c...@e...", "public_keys": []Fields{
		{"public_key": s.publicKey(), "key_validity_url": "https://" + s.Name + "/_matrix/identity/v2/pubkey/isvalid"},
	}}
}

func (s *IdentityServer) bind(body Fields) (int, any) {
	address := s.proven[body["sid"].(string)]
	if address == "" || body["client_secret"] != "secret" {
		return 404, Fields{"errcode": "M_NO_VALID_SESSION", "error": "No such session"}
	}
	user := id.UserID(body["mxid"].(string))
	s.users[identity.Hash(identity.Threepid{Medium: "email", Address: address}, pepper)] = user
	return 200, Fields{"medium": "email", "address": address, "mxid": user}
}

// unbind is for servers, which have no tokens. Like Sydent it does not know the signature that the specification wants.
func (s *IdentityServer) unbind(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, ok := s.read(w, r)
	if !ok {
		return
	}
	authorization := r.Header.Values("Authorization")
	s.unbinds = append(s.unbinds, Unbind{authorization, body})
	if len(authorization) != 1 || strings.Contains(authorization[0], "destination=") {
		s.reply(w, 401, Fields{"errcode": "M_FORBIDDEN", "error": "Invalid signature"})
		return
	}
	address := body["threepid"].(map[string]any)
	delete(s.users, identity.Hash(identity.Threepid{Medium: address["medium"].(string), Address: address["address"].(string)}, pepper))
	s.reply(w, 200, Fields{})
}
