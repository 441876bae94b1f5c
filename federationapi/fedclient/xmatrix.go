package fedclient

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"strings"

	"github.com/hearthd/hearth/internal/canonjson"
	"github.com/hearthd/hearth/internal/id"
)

// signedRequest is the canonical form of what stands for a request when it is signed. content is canonical; nil: none.
//
// Spec: server-server-api#request-authentication
func signedRequest(method, uri string, origin, destination id.ServerName, content []byte) []byte {
	b := make([]byte, 0, len(content)+len(uri)+len(origin)+len(destination)+100)
	b = append(b, '{')
	if content != nil {
		b = append(b, `"content":`...)
		b = append(b, content...)
		b = append(b, ',')
	}
	b = append(b, `"destination":`...)
	b = canonjson.AppendString(b, string(destination))
	b = append(b, `,"method":`...)
	b = canonjson.AppendString(b, method)
	b = append(b, `,"origin":`...)
	b = canonjson.AppendString(b, string(origin))
	b = append(b, `,"uri":`...)
	b = canonjson.AppendString(b, uri)
	return append(b, '}')
}

// authorize returns the Authorization header of a request.
func (c *Client) authorize(method, uri string, to id.ServerName, content []byte) string {
	signature := ed25519.Sign(c.key, signedRequest(method, uri, c.name, to, content))
	return `X-Matrix origin="` + string(c.name) + `",destination="` + string(to) + `",key="` + string(c.keyID) + `",sig="` +
		base64.RawStdEncoding.EncodeToString(signature) + `"`
}

// IdentityAuthorization returns the Authorization headers of a request to an identity server: that of the specification, and behind it the one
// that Sydent looks for, which is what identity servers are in practice. It has another name for the destination in what is signed.
//
// Spec: identity-service-api#post_matrixidentityv23pidunbind
func (c *Client) IdentityAuthorization(method, uri string, to id.ServerName, content []byte) []string {
	signed := signedRequest(method, uri, c.name, to, content)
	signature := ed25519.Sign(c.key, bytes.Replace(signed, []byte(`,"destination":`), []byte(`,"destination_is":`), 1))
	return []string{
		c.authorize(method, uri, to, content),
		`X-Matrix origin="` + string(c.name) + `",key="` + string(c.keyID) + `",sig="` + base64.RawStdEncoding.EncodeToString(signature) + `"`,
	}
}

// credentials are the parameters of an Authorization header.
type credentials struct {
	origin, destination id.ServerName // destination may be empty
	key                 string
	signature           []byte
}

const maxCredentials = 4 * kib

var (
	errScheme      = errors.New("the Authorization header is not of the scheme X-Matrix")
	errCredentials = errors.New("the Authorization header is malformed")
)

// parseCredentials reads an Authorization header.
//
// Spec: server-server-api#request-authentication
func parseCredentials(header string) (credentials, error) {
	if len(header) > maxCredentials {
		return credentials{}, errCredentials
	}
	scheme, rest, ok := strings.Cut(strings.TrimLeft(header, " \t"), " ")
	if !ok || !strings.EqualFold(scheme, "X-Matrix") {
		return credentials{}, errScheme
	}
	params, ok := parseParams(rest)
	if !ok {
		return credentials{}, errCredentials
	}
	var c credentials
	var err error
	if c.origin, err = id.ParseServerName(params["origin"]); err != nil {
		return credentials{}, errCredentials
	}
	if text, ok := params["destination"]; ok {
		if c.destination, err = id.ParseServerName(text); err != nil {
			return credentials{}, errCredentials
		}
	}
	c.key = params["key"]
	if !validKeyID(c.key) {
		return credentials{}, errCredentials
	}
	if c.signature, err = decodeBase64(params["sig"]); err != nil || len(c.signature) != ed25519.SignatureSize {
		return credentials{}, errCredentials
	}
	return c, nil
}

// parseParams reads name=value pairs that commas separate. Names are in lower case in the result. A name that comes twice is an error: who reads
// the first and who reads the last must not differ.
func parseParams(s string) (map[string]string, bool) {
	params := map[string]string{}
	for {
		s = strings.TrimLeft(s, " \t,")
		if s == "" {
			return params, true
		}
		name, rest, ok := strings.Cut(s, "=")
		name = strings.ToLower(strings.TrimRight(name, " \t"))
		if !ok || name == "" || strings.ContainsAny(name, " \t\",") {
			return nil, false
		}
		value, rest, ok := parseValue(strings.TrimLeft(rest, " \t"))
		if _, twice := params[name]; !ok || twice {
			return nil, false
		}
		params[name] = value
		rest = strings.TrimLeft(rest, " \t")
		if rest != "" && rest[0] != ',' {
			return nil, false
		}
		s = rest
	}
}

// parseValue reads a value, in quotes or not, and returns what follows it. Unquoted values may contain more than RFC 9110 lets them, since older
// servers send colons and the signature as they are.
func parseValue(s string) (value, rest string, ok bool) {
	if s == "" || s[0] != '"' {
		end := strings.IndexAny(s, ", \t")
		if end < 0 {
			end = len(s)
		}
		return s[:end], s[end:], !strings.ContainsAny(s[:end], `"\`)
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			if i++; i == len(s) {
				return "", "", false
			}
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}

// decodeBase64 reads standard base64 with or without padding.
func decodeBase64(text string) ([]byte, error) {
	return base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
}

const maxKeyID = 128

// validKeyID says whether a key has a name with which it can be published: ed25519 and a version.
//
// Spec: server-server-api#publishing-keys
func validKeyID(key string) bool {
	version, ok := strings.CutPrefix(key, "ed25519:")
	if !ok || version == "" || len(key) > maxKeyID {
		return false
	}
	for i := 0; i < len(version); i++ {
		c := version[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_') {
			return false
		}
	}
	return true
}
