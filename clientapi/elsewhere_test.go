package clientapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/hearthd/hearth/internal/fedtypes"
	"github.com/hearthd/hearth/internal/id"
)

// elsewhere is all other servers. What they say is scripted; they do not know anything else, and those that are not named at all are down.
type elsewhere struct {
	mu      sync.Mutex
	answers map[string]string // by call, such as "profile there @bob:there"; an answer of three digits is a refusal
	asked   []string
}

// refusal is what another server answers instead.
type refusal int

func (r refusal) Error() string { return fmt.Sprintf("status %d, said by a stranger", int(r)) }

func (r refusal) MatrixError() (status int, code string) { return int(r), "M_STRANGE" }

var errDown = errors.New("connection refused")

func (e *elsewhere) says(call, answer string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.answers == nil {
		e.answers = map[string]string{}
	}
	e.answers[call] = answer
}

// requests is what was asked since it was called last.
func (e *elsewhere) requests() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := e.asked
	e.asked = nil
	return out
}

func (e *elsewhere) ask(call string) (json.RawMessage, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked = append(e.asked, call)
	answer, ok := e.answers[call]
	var status int
	if n, _ := fmt.Sscanf(answer, "%3d", &status); n == 1 {
		return nil, refusal(status)
	}
	if !ok {
		return nil, errDown
	}
	return json.RawMessage(answer), nil
}

func (e *elsewhere) Profile(_ context.Context, to id.ServerName, user id.UserID, _ string) (json.RawMessage, error) {
	return e.ask(fmt.Sprintf("profile %s %s", to, user))
}

func (e *elsewhere) Directory(_ context.Context, to id.ServerName, alias id.RoomAlias) (out fedtypes.DirectoryAnswer, err error) {
	answer, err := e.ask(fmt.Sprintf("directory %s %s", to, alias))
	if err == nil {
		err = json.Unmarshal(answer, &out)
	}
	return out, err
}

func (e *elsewhere) PublicRooms(_ context.Context, to id.ServerName, body json.RawMessage) (json.RawMessage, error) {
	return e.ask(fmt.Sprintf("publicRooms %s %s", to, body))
}

func (e *elsewhere) Hierarchy(_ context.Context, to id.ServerName, room id.RoomID, _ bool) (json.RawMessage, error) {
	return e.ask(fmt.Sprintf("hierarchy %s %s", to, room))
}
