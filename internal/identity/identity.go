// Package identity speaks to identity servers, which know whose user an e-mail address or phone number is. Clients name them, so nothing that
// they say is believed beyond its bounds, and their tokens and errors are the client's. The package refuses to know of accounts and rooms.
package identity

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/safehttp"
)

const (
	// timeout bounds one request.
	timeout = 20 * time.Second
	// maxAnswer is the length of an answer, in bytes.
	maxAnswer = 64 << 10
	// maxText is the length of what is taken out of an answer, in bytes.
	maxText = 1000
	// maxKeys is the number of keys of a stored invite.
	maxKeys = 10
)

// Signer signs requests as this homeserver.
type Signer interface {
	IdentityAuthorization(method, uri string, to id.ServerName, content []byte) []string
}

// Client asks identity servers. All its errors are for the client of this server.
type Client struct {
	http   func() *http.Client
	signer Signer
}

// New makes a client that connects where guard lets it and trusts some authorities beside those of the system, which are read with the first
// request.
func New(guard *safehttp.Guard, trusted *safehttp.Authorities, userAgent string, signer Signer) *Client {
	return &Client{signer: signer, http: sync.OnceValue(func() *http.Client {
		return safehttp.NewConfiding(guard, userAgent, maxAnswer, trusted.Pool())
	})}
}

// Access is an identity server and the token that a user has for it.
type Access struct {
	Server id.ServerName
	Token  string
}

// Lookup finds the user whom an address belongs to; the empty id if the identity server does not know.
//
// Spec: identity-service-api#post_matrixidentityv2lookup
func (c *Client) Lookup(ctx context.Context, a Access, t Threepid) (id.UserID, error) {
	var hashing struct {
		Pepper     string   `json:"lookup_pepper"`
		Algorithms []string `json:"algorithms"`
	}
	if err := c.call(ctx, a, http.MethodGet, "hash_details", nil, &hashing); err != nil {
		return "", err
	}
	// Every identity server has it. Another would tell it the address.
	if !slices.Contains(hashing.Algorithms, "sha256") {
		return "", badAnswer("has no hash for addresses")
	}
	asked := Hash(t, hashing.Pepper)
	var found struct {
		Mappings map[string]string `json:"mappings"`
	}
	body := map[string]any{"algorithm": "sha256", "pepper": hashing.Pepper, "addresses": []string{asked}}
	if err := c.call(ctx, a, http.MethodPost, "lookup", body, &found); err != nil {
		return "", err
	}
	if found.Mappings[asked] == "" {
		return "", nil
	}
	user, err := id.ParseUserID(found.Mappings[asked])
	if err != nil {
		return "", badAnswer("knows no user by that name")
	}
	return user, nil
}

// Hash hides an address from those who do not know it.
//
// Spec: identity-service-api#sha256
func Hash(t Threepid, pepper string) string {
	sum := sha256.Sum256([]byte(t.Address + " " + t.Medium + " " + pepper))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Invite is an invite for an address. What it says beside that is for the letter to its owner.
type Invite struct {
	Threepid
	Room         id.RoomID `json:"room_id"`
	Sender       id.UserID `json:"sender"`
	Alias        string    `json:"room_alias,omitempty"`
	Avatar       string    `json:"room_avatar_url,omitempty"`
	JoinRules    string    `json:"room_join_rules,omitempty"`
	Name         string    `json:"room_name,omitempty"`
	Type         string    `json:"room_type,omitempty"`
	SenderName   string    `json:"sender_display_name,omitempty"`
	SenderAvatar string    `json:"sender_avatar_url,omitempty"`
}

// Stored is what an identity server knows an invite by.
type Stored struct {
	Token       string `json:"token"`
	DisplayName string `json:"display_name"`
	Keys        []Key  `json:"public_keys"`
}

// Key is one that an identity server will sign with.
type Key struct {
	Public      string `json:"public_key"`
	ValidityURL string `json:"key_validity_url,omitempty"`
}

// Spec: identity-service-api#post_matrixidentityv2store-invite
var storedToken = regexp.MustCompile(`^[0-9a-zA-Z.=_-]+$`) // of at most 255 characters

// StoreInvite has an identity server write to the owner of an address, and tell the homeserver of the user who one day proves to be that.
//
// Spec: identity-service-api#post_matrixidentityv2store-invite
func (c *Client) StoreInvite(ctx context.Context, a Access, i Invite) (Stored, error) {
	var out Stored
	if err := c.call(ctx, a, http.MethodPost, "store-invite", i, &out); err != nil {
		return Stored{}, err
	}
	switch {
	case len(out.Token) > 255 || !storedToken.MatchString(out.Token):
		return Stored{}, badAnswer("has no token for the invite")
	case len(out.DisplayName) > maxText:
		return Stored{}, badAnswer("has too long a name for the invite")
	case len(out.Keys) == 0 || len(out.Keys) > maxKeys:
		return Stored{}, badAnswer("has no key for the invite, or too many")
	case strings.Contains(out.DisplayName, i.Address):
		// Everybody in the room will see the name.
		return Stored{}, badAnswer("does not keep the address to itself")
	}
	for _, key := range out.Keys {
		if !isKey(key.Public) || len(key.ValidityURL) > maxText || !isHTTPS(key.ValidityURL) {
			return Stored{}, badAnswer("has a key that is none")
		}
	}
	return out, nil
}

// isKey accepts both alphabets of base64, as the specification does.
func isKey(text string) bool {
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		if raw, err := encoding.DecodeString(text); err == nil && len(raw) == ed25519.PublicKeySize {
			return true
		}
	}
	return false
}

func isHTTPS(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Scheme == "https" && u.Host != ""
}

// KeyValid asks whether a key of a third-party invite has not been revoked. The URL is the room's; a client of a room can have put any there.
//
// Spec: client-server-api#third-party-invites
func (c *Client) KeyValid(ctx context.Context, validityURL, key string) (bool, error) {
	u, err := url.Parse(validityURL)
	if err != nil {
		return false, merr.New(merr.Forbidden, "The third-party invite has no address at which its key could be checked")
	}
	query := u.Query()
	query.Set("public_key", key)
	u.RawQuery = query.Encode()
	var out struct {
		Valid bool `json:"valid"`
	}
	err = c.send(ctx, http.MethodGet, u.String(), nil, nil, &out)
	return out.Valid, err
}

func (c *Client) call(ctx context.Context, a Access, method, path string, body, out any) error {
	var content []byte
	if body != nil {
		var err error
		if content, err = json.Marshal(body); err != nil {
			return err
		}
	}
	header := http.Header{"Authorization": {"Bearer " + a.Token}}
	return c.send(ctx, method, "https://"+string(a.Server)+"/_matrix/identity/v2/"+path, header, content, out)
}

// errUnsupported is how a server answers that has no such endpoint, or that is none of Matrix.
var errUnsupported = merr.New(merr.Unknown, "The identity server does not support this").WithStatus(http.StatusBadGateway)

func badAnswer(what string) error {
	return merr.Newf(merr.Unknown, "The identity server %s", what).WithStatus(http.StatusBadGateway)
}

func (c *Client) send(ctx context.Context, method, target string, header http.Header, content []byte, out any) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(content))
	if err != nil {
		return merr.New(merr.InvalidParam, "The address of the identity server cannot be read")
	}
	for name, values := range header {
		r.Header[name] = values
	}
	if content != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http().Do(r)
	if err != nil {
		return badAnswer("cannot be reached")
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return badAnswer("has broken off its answer")
	case resp.StatusCode >= 200 && resp.StatusCode <= 299:
		if out != nil && json.Unmarshal(text, out) != nil {
			return badAnswer("has answered with nonsense")
		}
		return nil
	}
	return refusal(resp.StatusCode, text)
}

var errcode = regexp.MustCompile(`^[A-Z][A-Z0-9_.]+$`)

// refusal passes an error of an identity server on to the client.
//
// Spec: client-server-api#post_matrixclientv3account3pidbind, identity-service-api#post_matrixidentityv23pidunbind
func refusal(status int, text []byte) error {
	var body struct {
		Code string `json:"errcode"`
		Msg  string `json:"error"`
	}
	isMatrix := json.Unmarshal(text, &body) == nil && len(body.Code) <= 100 && errcode.MatchString(body.Code)
	switch {
	case isMatrix && merr.Code(body.Code) == merr.Unrecognized:
		return errUnsupported
	case isMatrix:
	case status == http.StatusBadRequest || status == http.StatusNotFound || status == http.StatusNotImplemented:
		return errUnsupported
	default:
		return badAnswer("is out of order")
	}
	code := merr.Code(body.Code)
	switch {
	case status == http.StatusUnauthorized || code == merr.UnknownToken || code == merr.MissingToken:
		// It is the token for the identity server that is wrong: clients would take the other one for lost and log out.
		status, code = http.StatusForbidden, merr.Unauthorized
	case status < 400 || status > 499 || status == http.StatusTooManyRequests:
		status = http.StatusBadGateway
	}
	return merr.New(code, body.Msg[:min(len(body.Msg), maxText)]).WithStatus(status)
}
