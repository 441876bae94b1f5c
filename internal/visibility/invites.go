package visibility

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/glob"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// Invites is whose invites somebody wants. The zero value wants all.
type Invites struct {
	none    bool // nobody's
	ignored Ignored
	lists   []inviteList // the first that matches decides
}

// Treatment is what becomes of an invite.
type Treatment int

// The treatments.
const (
	Welcome Treatment = iota
	Ignore            // it is taken, and the invited user does not hear of it
	Refuse
)

// inviteList is patterns of users, or of servers, and what becomes of their invites.
type inviteList struct {
	servers   bool
	treatment Treatment
	patterns  []string
}

// The account data that says so. The first is that of the specification, with all or nothing; the second has the name that it had before, and the
// third is the proposal for more than that.
const (
	InvitesType    = "m.invite_permission_config"
	invitesMSC4380 = "org.matrix.msc4380.invite_permission_config"
	invitesMSC4155 = "org.matrix.msc4155.invite_permission_config"
)

// LoadInvites reads whose invites a user wants.
//
// Spec: client-server-api#invite-permission, MSC4155
func LoadInvites(tx *storage.ReadTx, user id.UserID) (v Invites, err error) {
	for _, typ := range [...]string{InvitesType, invitesMSC4380} {
		content, err := loadData(tx, user, typ)
		if err != nil {
			return v, fmt.Errorf("load the invite permission: %w", err)
		}
		v.none = v.none || gjson.GetBytes(content, "default_action").Str == "block"
	}
	content, err := loadData(tx, user, invitesMSC4155)
	if err != nil {
		return v, fmt.Errorf("load the invite permission: %w", err)
	}
	v.lists = parseInvites(content)
	v.ignored, err = LoadIgnored(tx, user)
	return v, err
}

// loadData is the content of global account data, nil if there is none.
func loadData(tx *storage.ReadTx, user id.UserID, typ string) ([]byte, error) {
	data, err := tx.AccountData(user, "", typ)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	return data.Content, err
}

// parseInvites reads the lists of MSC4155, in the order in which they count. Where one of them is none, nothing of the content does.
func parseInvites(content []byte) []inviteList {
	config := gjson.ParseBytes(content)
	if enabled := config.Get("enabled"); enabled.Exists() && enabled.Type != gjson.True {
		return nil
	}
	var out []inviteList
	for _, l := range [...]struct {
		name string
		inviteList
	}{
		{"allowed_users", inviteList{false, Welcome, nil}},
		{"ignored_users", inviteList{false, Ignore, nil}},
		{"blocked_users", inviteList{false, Refuse, nil}},
		{"allowed_servers", inviteList{true, Welcome, nil}},
		{"ignored_servers", inviteList{true, Ignore, nil}},
		{"blocked_servers", inviteList{true, Refuse, nil}},
	} {
		list := config.Get(l.name)
		if !list.Exists() {
			continue
		}
		if !list.IsArray() {
			return nil
		}
		for _, p := range list.Array() {
			switch {
			case p.Type != gjson.String:
				return nil
			case !glob.Matchable(p.Str):
			case l.servers:
				l.patterns = append(l.patterns, strings.ToLower(p.Str))
			default:
				l.patterns = append(l.patterns, p.Str)
			}
		}
		if len(l.patterns) > 0 {
			out = append(out, l.inviteList)
		}
	}
	return out
}

// From says what becomes of an invite of a user.
func (v Invites) From(sender id.UserID) Treatment {
	switch {
	case v.none:
		return Refuse
	case v.ignored.Has(sender):
		return Ignore
	}
	for _, l := range v.lists {
		name := string(sender)
		if l.servers {
			name = glob.Server(sender.Server())
		}
		if glob.Any(l.patterns, name) {
			return l.treatment
		}
	}
	return Welcome
}
