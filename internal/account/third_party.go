package account

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// OpenID is a token that proves a user's identity to a third party.
type OpenID struct {
	AccessToken string        `json:"access_token"`
	TokenType   string        `json:"token_type"`
	ServerName  id.ServerName `json:"matrix_server_name"`
	ExpiresIn   int64         `json:"expires_in"` // seconds
}

// NewOpenID makes a token for a third party that wants to know who a user is.
//
// Spec: client-server-api#post_matrixclientv3useruseridopenidrequest_token
func (s *Service) NewOpenID(ctx context.Context, user id.UserID) (OpenID, error) {
	life := s.config.Get().Sessions.OpenIDTokenLifetime
	token, err := s.singleToken(ctx, openIDPrefix, storage.OpenIDToken, user, s.after(life))
	return OpenID{AccessToken: token, TokenType: "Bearer", ServerName: s.server, ExpiresIn: int64(life.Seconds())}, err
}

// OpenIDUser returns whom an OpenID token stands for, or M_UNKNOWN_TOKEN.
//
// Spec: server-server-api#get_matrixfederationv1openiduserinfo
func (s *Service) OpenIDUser(ctx context.Context, token string) (id.UserID, error) {
	var user id.UserID
	err := storage.ErrNotFound
	if looksLike(openIDPrefix, token) {
		err = s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
			user, err = tx.SingleTokenUser(hashToken(token), storage.OpenIDToken, s.now())
			return err
		})
	}
	if errors.Is(err, storage.ErrNotFound) {
		err = merr.New(merr.UnknownToken, "Access token unknown or expired")
	}
	return user, err
}

// TURN is what a client needs to use the relay for calls.
type TURN struct {
	Username string   `json:"username"`
	Password string   `json:"password"`
	URIs     []string `json:"uris"`
	TTL      int64    `json:"ttl"` // seconds
}

// TURN returns credentials for the relay. It reports false if there is none for this user.
//
// Spec: client-server-api#get_matrixclientv3voipturnserver
func (s *Service) TURN(user id.UserID, guest bool) (TURN, bool) {
	cfg := s.config.Get().TURN
	if len(cfg.URIs) == 0 || guest && !cfg.Guests {
		return TURN{}, false
	}
	out := TURN{Username: cfg.Username, Password: cfg.Password, URIs: cfg.URIs, TTL: int64(cfg.TTL.Seconds())}
	if cfg.SharedSecret != "" {
		// The convention of relays with a shared secret, draft-uberti-behave-turn-rest: the name says when it expires, the password signs it.
		out.Username = fmt.Sprintf("%d:%s", s.clock.Now().Add(cfg.TTL).Unix(), user)
		mac := hmac.New(sha1.New, []byte(cfg.SharedSecret))
		mac.Write([]byte(out.Username))
		out.Password = base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	return out, true
}
