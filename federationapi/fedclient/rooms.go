package fedclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/matrix-org/gomatrixserverlib"

	"github.com/hearthd/hearth/internal/fedtypes"
	"github.com/hearthd/hearth/internal/id"
)

const (
	eventAnswer = 256 * kib
	roomAnswer  = 128 * mib // the whole state of a room
	maxServers  = 10_000    // of a room
)

func (c *Client) template(ctx context.Context, to id.ServerName, name string, room id.RoomID, user id.UserID,
	versions []gomatrixserverlib.RoomVersion) (fedtypes.Template, error) {
	var answer struct {
		Version string          `json:"room_version"`
		Event   json.RawMessage `json:"event"`
	}
	query := url.Values{}
	for _, v := range versions {
		query.Add("ver", string(v))
	}
	err := c.ask(ctx, to, call{
		name: name, method: http.MethodGet, path: path(v1+"/"+name, string(room), string(user)), query: query, limit: mib, urgent: true,
	}, &answer)
	if err != nil {
		return fedtypes.Template{}, err
	}
	if len(answer.Event) == 0 || answer.Event[0] != '{' {
		return fedtypes.Template{}, fmt.Errorf("%w: %s answered %s without an event", ErrUnreachable, to, name)
	}
	return fedtypes.Template{Version: gomatrixserverlib.RoomVersion(shorten(answer.Version, 32)), Event: answer.Event}, nil
}

// MakeJoin asks for a join event. versions are the room versions that this server knows.
//
// Spec: server-server-api#joining-rooms
func (c *Client) MakeJoin(ctx context.Context, to id.ServerName, room id.RoomID, user id.UserID,
	versions []gomatrixserverlib.RoomVersion) (fedtypes.Template, error) {
	return c.template(ctx, to, "make_join", room, user, versions)
}

// MakeLeave asks for a leave event.
//
// Spec: server-server-api#leaving-rooms-rejecting-invites
func (c *Client) MakeLeave(ctx context.Context, to id.ServerName, room id.RoomID, user id.UserID) (fedtypes.Template, error) {
	return c.template(ctx, to, "make_leave", room, user, nil)
}

// MakeKnock asks for a knock event. versions are the room versions that this server knows.
//
// Spec: server-server-api#knocking-upon-a-room
func (c *Client) MakeKnock(ctx context.Context, to id.ServerName, room id.RoomID, user id.UserID,
	versions []gomatrixserverlib.RoomVersion) (fedtypes.Template, error) {
	return c.template(ctx, to, "make_knock", room, user, versions)
}

// SendJoin hands a signed join in and returns the room.
func (c *Client) SendJoin(ctx context.Context, to id.ServerName, room id.RoomID, event id.EventID, pdu json.RawMessage) (fedtypes.JoinAnswer, error) {
	var answer struct {
		Event          json.RawMessage                `json:"event"`
		State          fedtypes.List[json.RawMessage] `json:"state"`
		AuthChain      fedtypes.List[json.RawMessage] `json:"auth_chain"`
		MembersOmitted bool                           `json:"members_omitted"`
		Servers        fedtypes.List[string]          `json:"servers_in_room"`
	}
	err := c.ask(ctx, to, call{
		name: "send_join", method: http.MethodPut, path: path(v2+"/send_join", string(room), string(event)), body: pdu,
		limit: roomAnswer, time: longAnswer, urgent: true,
	}, &answer)
	if err != nil {
		return fedtypes.JoinAnswer{}, err
	}
	out := fedtypes.JoinAnswer{State: answer.State, AuthChain: answer.AuthChain, MembersOmitted: answer.MembersOmitted}
	if len(answer.Event) > 0 && answer.Event[0] == '{' {
		out.Event = answer.Event
	}
	for _, text := range answer.Servers[:min(len(answer.Servers), maxServers)] {
		if name, err := id.ParseServerName(text); err == nil {
			out.Servers = append(out.Servers, name)
		}
	}
	return out, nil
}

// SendLeave hands a signed leave in.
func (c *Client) SendLeave(ctx context.Context, to id.ServerName, room id.RoomID, event id.EventID, pdu json.RawMessage) error {
	_, err := c.do(ctx, to, call{
		name: "send_leave", method: http.MethodPut, path: path(v2+"/send_leave", string(room), string(event)), body: pdu, urgent: true,
	})
	return err
}

// SendKnock hands a signed knock in and returns what the user may know of the room: stripped state, or full events.
func (c *Client) SendKnock(ctx context.Context, to id.ServerName, room id.RoomID, event id.EventID,
	pdu json.RawMessage) ([]json.RawMessage, error) {
	var answer struct {
		State fedtypes.List[json.RawMessage] `json:"knock_room_state"`
	}
	err := c.ask(ctx, to, call{
		name: "send_knock", method: http.MethodPut, path: path(v1+"/send_knock", string(room), string(event)), body: pdu, limit: 4 * mib,
		urgent: true,
	}, &answer)
	return answer.State, err
}

// Invite hands an invite of a user of the other server in and returns it with that server's signature.
//
// Spec: server-server-api#inviting-to-a-room
func (c *Client) Invite(ctx context.Context, to id.ServerName, room id.RoomID, event id.EventID, version gomatrixserverlib.RoomVersion,
	pdu json.RawMessage, stripped []json.RawMessage) (json.RawMessage, error) {
	if stripped == nil {
		stripped = []json.RawMessage{}
	}
	var answer struct {
		Event json.RawMessage `json:"event"`
	}
	k := call{
		name: "invite", method: http.MethodPut, path: path(v2+"/invite", string(room), string(event)), limit: eventAnswer, urgent: true,
		body: map[string]any{"room_version": version, "event": pdu, "invite_room_state": stripped},
	}
	err := c.ask(ctx, to, k, &answer)
	var refused *Error
	old := version == gomatrixserverlib.RoomVersionV1 || version == gomatrixserverlib.RoomVersionV2
	if old && errors.As(err, &refused) && (refused.Status == http.StatusNotFound || refused.Code == "M_UNRECOGNIZED") {
		return c.inviteV1(ctx, to, room, event, pdu, stripped)
	}
	if err == nil && (len(answer.Event) == 0 || answer.Event[0] != '{') {
		err = fmt.Errorf("%w: %s answered an invite without it", ErrUnreachable, to)
	}
	return answer.Event, err
}

// inviteV1 is Invite for servers that know nothing but room versions 1 and 2.
func (c *Client) inviteV1(ctx context.Context, to id.ServerName, room id.RoomID, event id.EventID, pdu json.RawMessage,
	stripped []json.RawMessage) (json.RawMessage, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(pdu, &members); err != nil || members == nil {
		return nil, fmt.Errorf("invite over version 1 of the API: %w", errNotJSON)
	}
	unsigned, err := json.Marshal(map[string]any{"invite_room_state": stripped})
	if err != nil {
		return nil, fmt.Errorf("invite over version 1 of the API: %w", err)
	}
	members["unsigned"] = unsigned
	// The answer is a pair: 200 and the event in an object.
	var answer []json.RawMessage
	err = c.ask(ctx, to, call{
		name: "invite", method: http.MethodPut, path: path(v1+"/invite", string(room), string(event)), body: members, limit: eventAnswer,
		urgent: true,
	}, &answer)
	if err != nil {
		return nil, err
	}
	var second struct {
		Event json.RawMessage `json:"event"`
	}
	if len(answer) != 2 || json.Unmarshal(answer[1], &second) != nil || len(second.Event) == 0 || second.Event[0] != '{' {
		return nil, fmt.Errorf("%w: %s answered an invite without it", ErrUnreachable, to)
	}
	return second.Event, nil
}

// ExchangeThirdPartyInvite asks the server of who invited a third party to turn that into an invite.
//
// Spec: server-server-api#third-party-invites
func (c *Client) ExchangeThirdPartyInvite(ctx context.Context, to id.ServerName, room id.RoomID, pdu json.RawMessage) error {
	_, err := c.do(ctx, to, call{
		name: "exchange_third_party_invite", method: http.MethodPut, path: path(v1+"/exchange_third_party_invite", string(room)), body: pdu,
		urgent: true,
	})
	return err
}
