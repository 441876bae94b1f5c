package config

import (
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"github.com/hearthd/hearth/internal/id"
)

// SSO configures logging in at OpenID Connect providers.
type SSO struct {
	// Providers at which users can log in: a list of entries with id, name, issuer, client_id and client_secret, and perhaps brand, icon,
	// scopes, user_info, localpart, display_name, taken and existing_only. docs/sso.md explains them.
	Providers []SSOProvider `key:"providers"`
	// Addresses of clients that are given a login without the user being asked on a page, each standing for all that begins with it, for
	// instance https://app.element.io/ or element://.
	TrustedClients []string `key:"trusted_clients" reload:"yes"`
	// Networks that providers may be in although outbound.deny_networks has them.
	AllowNetworks []Prefix `key:"allow_networks"`
}

// SSOProvider is an OpenID Connect provider.
type SSOProvider struct {
	ID           string   `key:"id"`   // chosen by the operator; accounts are tied to it
	Name         string   `key:"name"` // what users see
	Brand        string   `key:"brand"`
	Icon         string   `key:"icon"` // an MXC
	Issuer       string   `key:"issuer"`
	ClientID     string   `key:"client_id"`
	ClientSecret string   `key:"client_secret" secret:"yes"` // empty: a public client
	Scopes       []string `key:"scopes"`
	UserInfo     bool     `key:"user_info"`    // ask the userinfo endpoint too
	Localpart    string   `key:"localpart"`    // template; see ParseClaimTemplate
	DisplayName  string   `key:"display_name"` // template
	Taken        SSOTaken `key:"taken"`
	ExistingOnly bool     `key:"existing_only"` // nobody gets an account by logging in
}

// SSOTaken says what happens to somebody new whose localpart belongs to an account.
type SSOTaken string

// The values of SSOProvider.Taken.
const (
	SSOTakenRefuse SSOTaken = "refuse" // they are turned away; the default
	SSOTakenNumber SSOTaken = "number" // they get the next free name with a number behind it
	SSOTakenLink   SSOTaken = "link"   // the account is theirs from now on
)

// The templates of providers that have none.
const (
	DefaultLocalpart   = "{{.preferred_username}}"
	DefaultDisplayName = "{{.name}}"
)

// ParseClaimTemplate reads a template that makes text out of the claims of a provider, such as {{.preferred_username}} or
// {{localpart .email}}. The syntax is Go's text/template; "localpart" is what stands before the @ of an e-mail address, "lower" makes small
// letters.
func ParseClaimTemplate(text string) (*template.Template, error) {
	return template.New("claim").Funcs(template.FuncMap{
		"lower": strings.ToLower,
		"localpart": func(address string) string {
			before, _, _ := strings.Cut(address, "@")
			return before
		},
	}).Parse(text)
}

// maxProvider is how long ids and brands of providers may be. It is not part of their expressions: "{1,255}" makes a program of as many pieces, at
// each start.
const maxProvider = 255

// Spec: appendices#opaque-identifiers
var providerID = regexp.MustCompile(`^[0-9A-Za-z._~-]+$`)

// Spec: client-server-api#client-login-via-sso. Brands are common namespaced identifiers, which need no namespace here.
var providerBrand = regexp.MustCompile(`^[a-z][a-z0-9._-]*$`)

func (c *Config) validateSSO(p *problems) {
	for _, client := range c.SSO.TrustedClients {
		u, err := url.Parse(client)
		p.check(err == nil && u.Scheme != "" && u.Opaque == "" && u.RawQuery == "" && u.Fragment == "" && u.User == nil,
			"sso.trusted_clients", "%q is not the beginning of a URL like https://app.example.org/ or app.example:/", client)
		web := err == nil && (u.Scheme == "http" || u.Scheme == "https")
		p.check(!web || u.Host != "", "sso.trusted_clients", "%q stands for the whole web", client)
	}
	const key = "sso.providers"
	var ids []string
	for _, provider := range c.SSO.Providers {
		p.check(len(provider.ID) <= maxProvider && providerID.MatchString(provider.ID), key, "%q is not an id of letters, digits and ._~-", provider.ID)
		p.check(!slices.Contains(ids, provider.ID), key, "%q is there twice", provider.ID)
		ids = append(ids, provider.ID)
		p.check(provider.Name != "", key, "%q has no name", provider.ID)
		brand := provider.Brand
		p.check(brand == "" || len(brand) <= maxProvider && providerBrand.MatchString(brand), key, "%q: %q is not a brand like github", provider.ID, brand)
		_, err := id.ParseMXC(provider.Icon)
		p.check(provider.Icon == "" || err == nil, key, "%q: the icon %q is not an mxc:// URI", provider.ID, provider.Icon)
		p.check(isSafeIssuer(provider.Issuer), key, "%q: the issuer %q is not an https URL", provider.ID, provider.Issuer)
		p.check(provider.ClientID != "", key, "%q has no client_id", provider.ID)
		if provider.Taken != "" {
			p.oneOf(key+" (taken)", string(provider.Taken), string(SSOTakenRefuse), string(SSOTakenNumber), string(SSOTakenLink))
		}
		for _, text := range []string{provider.Localpart, provider.DisplayName} {
			_, err := ParseClaimTemplate(text)
			p.check(err == nil, key, "%q: the template %q cannot be read: %v", provider.ID, text, err)
		}
	}
}

// isSafeIssuer wants TLS for all that does not stay on this machine.
func isSafeIssuer(issuer string) bool {
	u, err := url.Parse(issuer)
	if err != nil || !isHTTP(issuer) || u.RawQuery != "" || u.Fragment != "" {
		return false
	}
	addr, err := netip.ParseAddr(u.Hostname())
	return u.Scheme == "https" || u.Hostname() == "localhost" || err == nil && addr.IsLoopback()
}
