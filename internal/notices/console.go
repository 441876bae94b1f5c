package notices

import (
	"context"
	"encoding/json"

	"github.com/hearthd/hearth/internal/admin"
	"github.com/hearthd/hearth/internal/id"
)

// Console is the service as the command line sees it.
type Console struct {
	Service *Service
	// Find finds a user by a full id or the localpart.
	Find func(ctx context.Context, text string) (id.UserID, error)
}

var _ admin.Notices = Console{}

// SendNotice sends a text to a user.
func (c Console) SendNotice(ctx context.Context, user, text string) (string, error) {
	to, err := c.Find(ctx, user)
	if err != nil {
		return "", err
	}
	content, err := json.Marshal(map[string]string{"msgtype": "m.text", "body": text})
	if err != nil {
		return "", err
	}
	_, err = c.Service.Send(ctx, Notice{To: to, Content: content})
	return string(to), err
}
