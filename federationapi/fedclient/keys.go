package fedclient

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/hearthd/hearth/internal/id"
)

// keys asks a server for its keys.
//
// Spec: server-server-api#retrieving-server-keys
func (c *Client) keys(ctx context.Context, to id.ServerName, urgent bool, now time.Time) (keyDocument, error) {
	raw, err := c.do(ctx, to, call{
		name: "keys_server", method: http.MethodGet, path: "/_matrix/key/v2/server", limit: maxKeyDocument, time: 15 * time.Second, unsigned: true,
		urgent: urgent, hearsay: true,
	})
	if err != nil {
		return keyDocument{}, err
	}
	document, err := parseKeyDocument(to, raw, now)
	if err != nil {
		return keyDocument{}, fmt.Errorf("read the keys of %s: %w", to, err)
	}
	return document, nil
}

// maxNotaryAnswers is how many documents of one server are looked at.
const maxNotaryAnswers = 16

// queryKeys asks a notary for all keys of a server.
func (c *Client) queryKeys(ctx context.Context, notary, server id.ServerName) ([]json.RawMessage, error) {
	var answer keyAnswer
	err := c.ask(ctx, notary, call{
		name: "keys_query_notary", method: http.MethodPost, path: "/_matrix/key/v2/query", limit: mib, time: 15 * time.Second,
		body: map[string]any{"server_keys": map[id.ServerName]any{server: map[string]any{}}}, unsigned: true,
	}, &answer)
	return answer.ServerKeys[:min(len(answer.ServerKeys), maxNotaryAnswers)], err
}
