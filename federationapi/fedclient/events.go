package fedclient

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/hearthd/hearth/internal/fedtypes"
	"github.com/hearthd/hearth/internal/id"
)

const (
	batchAnswer = 16 * mib // some hundred events
	idsAnswer   = 32 * mib
	maxBatch    = 1000 // events in the answers to Backfill and MissingEvents
)

// pdus is what most answers with events consist of.
type pdus struct {
	PDUs fedtypes.List[json.RawMessage] `json:"pdus"`
}

// Event returns one event.
//
// Spec: server-server-api#retrieving-events
func (c *Client) Event(ctx context.Context, to id.ServerName, event id.EventID) (json.RawMessage, error) {
	var answer pdus
	err := c.ask(ctx, to, call{name: "event", method: http.MethodGet, path: path(v1+"/event", string(event)), limit: eventAnswer}, &answer)
	if err == nil && len(answer.PDUs) != 1 {
		err = fmt.Errorf("%w: %s answered a question for one event with %d", ErrUnreachable, to, len(answer.PDUs))
	}
	if err != nil {
		return nil, err
	}
	return answer.PDUs[0], nil
}

// State returns the state of a room before an event.
func (c *Client) State(ctx context.Context, to id.ServerName, room id.RoomID, event id.EventID) (fedtypes.StateAnswer, error) {
	var answer struct {
		pdus
		AuthChain fedtypes.List[json.RawMessage] `json:"auth_chain"`
	}
	err := c.ask(ctx, to, call{
		name: "state", method: http.MethodGet, path: path(v1+"/state", string(room)), query: url.Values{"event_id": {string(event)}},
		limit: roomAnswer, time: longAnswer,
	}, &answer)
	return fedtypes.StateAnswer{State: answer.PDUs, AuthChain: answer.AuthChain}, err
}

// StateIDs returns the ids of the state of a room before an event.
func (c *Client) StateIDs(ctx context.Context, to id.ServerName, room id.RoomID, event id.EventID) (fedtypes.StateIDsAnswer, error) {
	var answer struct {
		State     fedtypes.List[string] `json:"pdu_ids"`
		AuthChain fedtypes.List[string] `json:"auth_chain_ids"`
	}
	err := c.ask(ctx, to, call{
		name: "state_ids", method: http.MethodGet, path: path(v1+"/state_ids", string(room)), query: url.Values{"event_id": {string(event)}},
		limit: idsAnswer, time: longAnswer,
	}, &answer)
	return fedtypes.StateIDsAnswer{State: eventIDs(answer.State), AuthChain: eventIDs(answer.AuthChain)}, err
}

// eventIDs leaves out what is no event id.
func eventIDs(texts []string) []id.EventID {
	out := make([]id.EventID, 0, len(texts))
	for _, text := range texts {
		if event, err := id.ParseEventID(text); err == nil {
			out = append(out, event)
		}
	}
	return out
}

// EventAuth returns the auth chain of an event.
//
// Spec: server-server-api#retrieving-event-authorisation-information
func (c *Client) EventAuth(ctx context.Context, to id.ServerName, room id.RoomID, event id.EventID) ([]json.RawMessage, error) {
	var answer struct {
		AuthChain fedtypes.List[json.RawMessage] `json:"auth_chain"`
	}
	err := c.ask(ctx, to, call{
		name: "event_auth", method: http.MethodGet, path: path(v1+"/event_auth", string(room), string(event)), limit: roomAnswer, time: longAnswer,
	}, &answer)
	return answer.AuthChain, err
}

// Backfill returns at most limit events that came before some, and perhaps these.
//
// Spec: server-server-api#backfilling-and-retrieving-missing-events
func (c *Client) Backfill(ctx context.Context, to id.ServerName, room id.RoomID, from []id.EventID, limit int) ([]json.RawMessage, error) {
	query := url.Values{"limit": {strconv.Itoa(limit)}}
	for _, event := range from {
		query.Add("v", string(event))
	}
	var answer pdus
	err := c.ask(ctx, to, call{
		name: "backfill", method: http.MethodGet, path: path(v1+"/backfill", string(room)), query: query, limit: batchAnswer,
	}, &answer)
	return answer.PDUs[:min(len(answer.PDUs), maxBatch)], err
}

// MissingEvents returns the events between some.
func (c *Client) MissingEvents(ctx context.Context, to id.ServerName, room id.RoomID, want fedtypes.MissingRequest) ([]json.RawMessage, error) {
	body := map[string]any{
		"earliest_events": ids(want.Earliest), "latest_events": ids(want.Latest), "limit": want.Limit, "min_depth": max(want.MinDepth, 0),
	}
	var answer struct {
		Events fedtypes.List[json.RawMessage] `json:"events"`
	}
	err := c.ask(ctx, to, call{
		name: "get_missing_events", method: http.MethodPost, path: path(v1+"/get_missing_events", string(room)), body: body, limit: batchAnswer,
	}, &answer)
	return answer.Events[:min(len(answer.Events), maxBatch)], err
}

// ids is a list that is never null in JSON.
func ids(events []id.EventID) []id.EventID {
	if events == nil {
		return []id.EventID{}
	}
	return events
}

// TimestampToEvent returns the event that is next to a moment, in ms since the epoch.
func (c *Client) TimestampToEvent(ctx context.Context, to id.ServerName, room id.RoomID, ts int64, backwards bool) (fedtypes.EventMoment, error) {
	query := url.Values{"ts": {strconv.FormatInt(ts, 10)}, "dir": {"f"}}
	if backwards {
		query.Set("dir", "b")
	}
	var answer struct {
		ID string `json:"event_id"`
		TS int64  `json:"origin_server_ts"`
	}
	err := c.ask(ctx, to, call{
		name: "timestamp_to_event", method: http.MethodGet, path: path(v1+"/timestamp_to_event", string(room)), query: query,
	}, &answer)
	if err != nil {
		return fedtypes.EventMoment{}, err
	}
	event, err := id.ParseEventID(answer.ID)
	if err != nil {
		return fedtypes.EventMoment{}, fmt.Errorf("%w: %s answered timestamp_to_event: %w", ErrUnreachable, to, err)
	}
	return fedtypes.EventMoment{ID: event, TS: answer.TS}, nil
}

// SendTransaction delivers events and ephemeral messages. It returns what the other server did not like about single events, which is for the log
// only: none of them is to be sent again.
//
// Spec: server-server-api#transactions
func (c *Client) SendTransaction(ctx context.Context, to id.ServerName, txnID string, body json.RawMessage) (map[id.EventID]string, error) {
	var answer struct {
		PDUs map[string]json.RawMessage `json:"pdus"`
	}
	err := c.ask(ctx, to, call{
		name: "send", method: http.MethodPut, path: path(v1+"/send", txnID), body: body, time: 2 * shortAnswer, delivery: true,
	}, &answer)
	if err != nil {
		return nil, err
	}
	out := map[id.EventID]string{}
	for text, result := range answer.PDUs {
		var failure struct {
			Error string `json:"error"`
		}
		event, err := id.ParseEventID(text)
		if err == nil && json.Unmarshal(result, &failure) == nil && failure.Error != "" {
			out[event] = shorten(failure.Error, maxErrorText)
		}
	}
	return out, nil
}
