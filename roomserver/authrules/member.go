package authrules

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/canonjson"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
)

// maxVerifications bounds the signatures that are tried on one third-party invite: as many as fit into an event would take half a minute.
const maxVerifications = 256

// change is a change of membership.
type change struct {
	*rules
	target   id.UserID
	was      string // the target's membership before
	senderIs string // the sender's membership
}

// member is the rules for m.room.member.
//
// Spec: rooms/v12#authorization-rules, rule 5
func (r *rules) member() error {
	key, membership := r.event.StateKey(), r.content.Get("membership")
	if key == nil || membership.Type != gjson.String {
		return merr.New(merr.BadJSON, "A membership event must be state and have a membership")
	}
	c := &change{rules: r, target: id.UserID(*key)}
	var err error
	if c.was, err = Membership(r.state, c.target); err != nil {
		return err
	}
	if c.senderIs = c.was; c.target != r.sender {
		if c.senderIs, err = Membership(r.state, r.sender); err != nil {
			return err
		}
	}
	switch membership.Str {
	case spec.Join:
		return c.join()
	case spec.Invite:
		return c.invite()
	case spec.Leave:
		return c.leave()
	case spec.Ban:
		return c.ban()
	case spec.Knock:
		if knowsKnock(r.version) {
			return c.knock()
		}
	}
	return refuse("The membership is none that the room version knows")
}

func (c *change) join() error {
	prev := c.event.PrevEventIDs()
	if len(prev) == 1 && prev[0] == c.create.EventID() && c.target == creator(c.version, c.create) {
		return nil
	}
	switch {
	case c.target != c.sender:
		return refuse("You may not join for others")
	case c.was == spec.Ban:
		return refuse("%s is banned from the room", c.target)
	}
	rule, err := JoinRuleOf(c.state)
	if err != nil {
		return err
	}
	invited := c.was == spec.Invite || c.was == spec.Join
	switch name := rule.Rule; {
	case name == spec.Public:
		return nil
	case name == spec.Invite, name == spec.Knock && knowsKnock(c.version):
		if !invited {
			return refuse("You are not invited to this room")
		}
		return nil
	case name == spec.Restricted && knowsRestricted(c.version), name == spec.KnockRestricted && knowsKnockRestricted(c.version):
		if !invited {
			return c.authorised()
		}
		return nil
	}
	return refuse("The join rule of the room is none that its version knows")
}

// authorised is the rule for who joins neither invited nor to a public room: a member who may invite must have vouched for them. That its
// server signed the event is checked on receipt.
func (c *change) authorised() error {
	by := id.UserID(text(c.content.Get("join_authorised_via_users_server")))
	if by == "" {
		return refuse("You are not invited to this room")
	}
	membership, err := Membership(c.state, by)
	if err != nil {
		return err
	}
	p, err := powerOf(c.version, c.create, c.state)
	if err != nil {
		return err
	}
	if membership != spec.Join || p.User(by) < p.Invite {
		return refuse("%s may not invite to this room", by)
	}
	return nil
}

func (c *change) invite() error {
	if c.content.Get("third_party_invite").Exists() {
		return c.thirdParty()
	}
	p, err := powerOf(c.version, c.create, c.state)
	switch {
	case err != nil:
		return err
	case c.senderIs != spec.Join:
		return refuse("%s is not in the room", c.sender)
	case c.was == spec.Join:
		return refuse("%s is already in the room", c.target)
	case c.was == spec.Ban:
		return refuse("%s is banned from the room", c.target)
	case p.User(c.sender) < p.Invite:
		return refuse("You may not invite to this room")
	}
	return nil
}

func (c *change) leave() error {
	if c.target == c.sender {
		if c.was == spec.Invite || c.was == spec.Join || c.was == spec.Knock && knowsKnock(c.version) {
			return nil
		}
		return refuse("%s cannot leave a room that they are not in", c.target)
	}
	p, err := powerOf(c.version, c.create, c.state)
	switch {
	case err != nil:
		return err
	case c.senderIs != spec.Join:
		return refuse("%s is not in the room", c.sender)
	case c.was == spec.Ban && p.User(c.sender) < p.Ban:
		return refuse("You may not unban in this room")
	case p.User(c.sender) < p.Kick || p.User(c.target) >= p.User(c.sender):
		return refuse("You may not remove %s from this room", c.target)
	}
	return nil
}

func (c *change) ban() error {
	p, err := powerOf(c.version, c.create, c.state)
	switch {
	case err != nil:
		return err
	case c.senderIs != spec.Join:
		return refuse("%s is not in the room", c.sender)
	case p.User(c.sender) < p.Ban || p.User(c.target) >= p.User(c.sender):
		return refuse("You may not ban %s from this room", c.target)
	}
	return nil
}

func (c *change) knock() error {
	rule, err := JoinRuleOf(c.state)
	switch {
	case err != nil:
		return err
	case rule.Rule != spec.Knock && (rule.Rule != spec.KnockRestricted || !knowsKnockRestricted(c.version)):
		return refuse("The room hears no knocks")
	case c.target != c.sender:
		return refuse("You may not knock for others")
	case c.was == spec.Ban || c.was == spec.Invite || c.was == spec.Join:
		return refuse("%s cannot knock, their membership is %s", c.target, c.was)
	}
	return nil
}

// thirdParty is the rules for who was invited by a third-party identifier.
func (c *change) thirdParty() error {
	signed := c.content.Get("third_party_invite.signed")
	mxid, token := signed.Get("mxid"), signed.Get("token")
	switch {
	case c.was == spec.Ban:
		return refuse("%s is banned from the room", c.target)
	case !signed.IsObject() || mxid.Type != gjson.String || token.Type != gjson.String:
		return refuse("The third-party invite is not signed")
	case mxid.Str != string(c.target):
		return refuse("The third-party invite is somebody else's")
	}
	invite, err := c.state.ThirdPartyInvite(token.Str)
	switch {
	case err != nil:
		return fmt.Errorf("find the third-party invite: %w", err)
	case invite == nil:
		return refuse("There is no such third-party invite in the room")
	case invite.SenderID() != c.event.SenderID():
		return refuse("The third-party invite is from somebody else")
	case !verifies(signed, invite.Content()):
		return refuse("The third-party invite is not signed by any key of the identity server")
	}
	return nil
}

// verifies says that a signature of the object was made with a key of the third-party invite's content.
func verifies(signed gjson.Result, content []byte) bool {
	_, found := signingKey(signed, content)
	return found
}

// InviteKey is a key of a third-party invite, with the URL at which it can be checked; empty: it is always valid.
type InviteKey struct{ Key, URL string }

// SigningKey is the key of the third-party invite's content with which the object was signed.
func SigningKey(content, signed []byte) (InviteKey, bool) {
	return signingKey(gjson.ParseBytes(signed), content)
}

func signingKey(signed gjson.Result, content []byte) (by InviteKey, found bool) {
	type candidate struct {
		InviteKey
		raw ed25519.PublicKey
	}
	var keys []candidate
	add := func(from gjson.Result) {
		public := text(from.Get("public_key"))
		if raw := unbase64(public); len(raw) == ed25519.PublicKeySize {
			keys = append(keys, candidate{InviteKey{public, text(from.Get("key_validity_url"))}, raw})
		}
	}
	add(gjson.ParseBytes(content))
	gjson.GetBytes(content, "public_keys").ForEach(func(_, k gjson.Result) bool {
		add(k)
		return true
	})
	message, err := withoutSignatures(signed)
	if err != nil {
		return InviteKey{}, false
	}
	tried := 0
	signed.Get("signatures").ForEach(func(_, byServer gjson.Result) bool {
		byServer.ForEach(func(keyID, s gjson.Result) bool {
			signature := unbase64(text(s))
			if len(signature) != ed25519.SignatureSize || !strings.HasPrefix(keyID.Str, "ed25519:") {
				return true
			}
			for _, key := range keys {
				if tried++; tried > maxVerifications {
					return false
				}
				if found = ed25519.Verify(key.raw, message, signature); found {
					by = key.InviteKey
					return false
				}
			}
			return true
		})
		return !found && tried <= maxVerifications
	})
	return by, found
}

// withoutSignatures is what was signed.
//
// Spec: appendices#checking-for-a-signature
func withoutSignatures(signed gjson.Result) ([]byte, error) {
	b := []byte{'{'}
	signed.ForEach(func(key, value gjson.Result) bool {
		if key.Str != "signatures" && key.Str != "unsigned" {
			if len(b) > 1 {
				b = append(b, ',')
			}
			b = append(b, key.Raw...)
			b = append(b, ':')
			b = append(b, value.Raw...)
		}
		return true
	})
	return canonjson.Canonical(append(b, '}'))
}

// unbase64 decodes both alphabets, padded or not; nil if s is neither.
func unbase64(s string) []byte {
	enc := base64.RawStdEncoding
	if strings.ContainsAny(s, "-_") {
		enc = base64.RawURLEncoding
	}
	b, err := enc.DecodeString(strings.TrimRight(s, "="))
	if err != nil {
		return nil
	}
	return b
}
