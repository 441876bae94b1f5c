package fedclient

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/matrix-org/gomatrixserverlib"

	"github.com/hearthd/hearth/internal/fedtypes"
	"github.com/hearthd/hearth/internal/id"
)

const (
	listAnswer    = 4 * mib
	keysAnswer    = 16 * mib
	maxCandidates = 100
)

// Profile returns the profile of a user of another server, or one field of it in an object.
//
// Spec: server-server-api#querying-for-information
func (c *Client) Profile(ctx context.Context, to id.ServerName, user id.UserID, field string) (json.RawMessage, error) {
	query := url.Values{"user_id": {string(user)}}
	if field != "" {
		query.Set("field", field)
	}
	return c.do(ctx, to, call{name: "query_profile", method: http.MethodGet, path: v1 + "/query/profile", query: query, limit: mib, hearsay: true})
}

// Directory resolves an alias of another server.
func (c *Client) Directory(ctx context.Context, to id.ServerName, alias id.RoomAlias) (fedtypes.DirectoryAnswer, error) {
	var answer struct {
		Room    string   `json:"room_id"`
		Servers []string `json:"servers"`
	}
	err := c.ask(ctx, to, call{
		name: "query_directory", method: http.MethodGet, path: v1 + "/query/directory", query: url.Values{"room_alias": {string(alias)}},
		urgent: true, hearsay: true,
	}, &answer)
	if err != nil {
		return fedtypes.DirectoryAnswer{}, err
	}
	room, err := id.ParseRoomID(answer.Room)
	if err != nil {
		return fedtypes.DirectoryAnswer{}, fmt.Errorf("%w: %s answered for an alias: %w", ErrUnreachable, to, err)
	}
	out := fedtypes.DirectoryAnswer{Room: room}
	for _, text := range answer.Servers[:min(len(answer.Servers), maxCandidates)] {
		if name, err := id.ParseServerName(text); err == nil {
			out.Servers = append(out.Servers, name)
		}
	}
	return out, nil
}

// PublicRooms returns the published rooms of another server. body is that of the request.
//
// Spec: server-server-api#published-room-directory
func (c *Client) PublicRooms(ctx context.Context, to id.ServerName, body json.RawMessage) (json.RawMessage, error) {
	return c.do(ctx, to, call{
		name: "public_rooms", method: http.MethodPost, path: v1 + "/publicRooms", body: body, limit: listAnswer, urgent: true, hearsay: true,
	})
}

// Hierarchy returns a space as another server sees it.
//
// Spec: server-server-api#spaces
func (c *Client) Hierarchy(ctx context.Context, to id.ServerName, room id.RoomID, suggestedOnly bool) (json.RawMessage, error) {
	return c.do(ctx, to, call{
		name: "hierarchy", method: http.MethodGet, path: path(v1+"/hierarchy", string(room)),
		query: url.Values{"suggested_only": {strconv.FormatBool(suggestedOnly)}}, limit: listAnswer,
	})
}

// UserDevices returns the devices of a user of another server.
//
// Spec: server-server-api#device-management
func (c *Client) UserDevices(ctx context.Context, to id.ServerName, user id.UserID) (json.RawMessage, error) {
	return c.do(ctx, to, call{name: "user_devices", method: http.MethodGet, path: path(v1+"/user/devices", string(user)), limit: keysAnswer})
}

// QueryKeys returns the keys of users of another server. body is that of the request.
//
// Spec: server-server-api#end-to-end-encryption
func (c *Client) QueryKeys(ctx context.Context, to id.ServerName, body json.RawMessage) (json.RawMessage, error) {
	return c.do(ctx, to, call{name: "keys_query", method: http.MethodPost, path: v1 + "/user/keys/query", body: body, limit: keysAnswer})
}

// ClaimKeys takes one-time keys of users of another server. body is that of the request.
func (c *Client) ClaimKeys(ctx context.Context, to id.ServerName, body json.RawMessage) (json.RawMessage, error) {
	return c.do(ctx, to, call{
		name: "keys_claim", method: http.MethodPost, path: v1 + "/user/keys/claim", body: body, limit: keysAnswer, once: true,
	})
}

// ServerVersion is the software of a server.
type ServerVersion struct {
	Name, Version string
}

// Version returns the software of another server.
//
// Spec: server-server-api#server-implementation
func (c *Client) Version(ctx context.Context, to id.ServerName) (ServerVersion, error) {
	var answer struct {
		Server struct {
			Name    string `json:"name"`
			Version string `json:"version"`
		} `json:"server"`
	}
	err := c.ask(ctx, to, call{name: "version", method: http.MethodGet, path: v1 + "/version", unsigned: true, urgent: true}, &answer)
	return ServerVersion{shorten(answer.Server.Name, 100), shorten(answer.Server.Version, 100)}, err
}

// PolicySign asks a policy server to sign an event and returns the signature, unpadded base64.
//
// Spec: server-server-api#policy-servers
func (c *Client) PolicySign(ctx context.Context, to id.ServerName, pdu json.RawMessage) (string, error) {
	var answer map[string]map[gomatrixserverlib.KeyID]string
	err := c.ask(ctx, to, call{name: "policy_sign", method: http.MethodPost, path: "/_matrix/policy/v1/sign", body: pdu, urgent: true}, &answer)
	if err != nil {
		return "", err
	}
	signature := answer[string(to)]["ed25519:policy_server"]
	if signature == "" || len(signature) > 100 {
		return "", fmt.Errorf("%w: %s answered a question for a signature without one", ErrUnreachable, to)
	}
	return signature, nil
}
