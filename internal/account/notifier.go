package account

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"sync"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/budget"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/push"
	"github.com/hearthd/hearth/internal/visibility"
	"github.com/hearthd/hearth/storage"
)

// Notifier applies the push rules of users to events. It keeps the compiled rules of recent users, and who is who in recent rooms; the Service
// that changes the rules drops them here.
type Notifier struct {
	book *push.Book

	mu        sync.Mutex
	users     map[id.UserID]*listener
	audiences audiences
}

// listener is what decides about one user's notifications.
type listener struct {
	program *push.Program
	ignored visibility.Ignored
	threads bool // the user subscribes to threads, or does not want to
}

// plain reports whether events are to the user what they are to everybody who has changed nothing.
func (l *listener) plain(b *push.Book) bool {
	return b.Plain(l.program) && len(l.ignored) == 0 && !l.threads
}

// maxListeners bounds the users whose compiled rules are kept; most share one program, so an entry is small.
const maxListeners = 1 << 16

// NewNotifier makes a Notifier with the server's default rules. memory is what it keeps rooms in; nil: the default.
func NewNotifier(book *push.Book, memory *budget.Memory) *Notifier {
	return &Notifier{book: book, users: map[id.UserID]*listener{}, audiences: newAudiences(memory.Share(budget.Audiences))}
}

// Verdict says what an event of a room is to members of it: all who are there of this server, in a list that is never changed in place. What it
// costs follows those who have rules of their own, and those whom the event names. It is for Updates.
//
// Spec: client-server-api#push-notifications
func (n *Notifier) Verdict(tx *storage.ReadTx, room *storage.Room, e *storage.Event, members []storage.Member) (push.Verdict, error) {
	v, err := newEvaluation(tx, room, e)
	if err != nil || len(members) == 0 {
		return push.Verdict{}, err
	}
	a, err := n.audience(tx, room.NID, members)
	if err != nil {
		return push.Verdict{}, err
	}
	out := push.Verdict{Rest: v.pass.Rest(n.book), Apart: map[id.UserID]push.Outcome{}}
	judge := func(user id.UserID) {
		name, ok := a.names[user]
		if _, done := out.Apart[user]; done || !ok {
			return
		}
		l, lerr := n.listener(tx, user)
		if lerr != nil {
			err = errors.Join(err, lerr)
			return
		}
		out.Apart[user] = v.of(l, e.Sender, storage.Member{User: user, Name: name})
	}
	judge(e.Sender)
	for user := range a.apart {
		judge(user)
	}
	v.pass.Named(n.book, &a.index, judge)
	return out, errors.Join(err, v.failed)
}

// evaluation is one event before the push rules of several users. failed is what went wrong while a rule was looked at.
type evaluation struct {
	pass    *push.Pass
	threads bool // of the user whose rules are looked at: see listener
	failed  error
}

func newEvaluation(tx *storage.ReadTx, room *storage.Room, e *storage.Event) (*evaluation, error) {
	event, err := push.NewEvent(e.RoomID, e.ID, e.JSON)
	if err != nil {
		return nil, err
	}
	v := &evaluation{}
	said := sync.OnceValue(func() map[id.UserID]push.Subscription {
		m, err := subscriptions(tx, e)
		v.failed = errors.Join(v.failed, err)
		return m
	})
	v.pass = push.NewPass(event, push.RoomContext{MemberCount: int(room.Summary.Joined), Power: func() push.Power {
		p, err := notificationPower(tx, room, e.Sender)
		v.failed = errors.Join(v.failed, err)
		return p
	}, Subscription: func(user id.UserID) push.Subscription {
		if !v.threads || said() == nil {
			return 0
		}
		return max(said()[user], push.Unsubscribed)
	}})
	return v, nil
}

// subscriptions is what users have said of the thread that an event is in; nil for an event in no thread.
func subscriptions(tx *storage.ReadTx, e *storage.Event) (map[id.UserID]push.Subscription, error) {
	root, err := tx.ThreadOf(e)
	if err != nil || root == "" {
		return nil, err
	}
	list, err := tx.SubscribersOf(e.Room, root)
	out := map[id.UserID]push.Subscription{}
	for _, s := range list {
		if s.Subscribed {
			out[s.User] = push.Subscribed
		}
	}
	return out, err
}

func (v *evaluation) of(l *listener, sender id.UserID, m storage.Member) push.Outcome {
	if l.ignored.Has(sender) {
		return push.Outcome{}
	}
	v.threads = l.threads
	return v.pass.Evaluate(l.program, push.Recipient{ID: m.User, DisplayName: m.Name})
}

// Outcome is what one user's push rules make of an event.
func (n *Notifier) Outcome(tx *storage.ReadTx, room *storage.Room, e *storage.Event, member storage.Member) (push.Outcome, error) {
	v, err := newEvaluation(tx, room, e)
	if err != nil {
		return push.Outcome{}, err
	}
	l, err := n.listener(tx, member.User)
	if err != nil {
		return push.Outcome{}, err
	}
	return v.of(l, e.Sender, member), v.failed
}

// notificationPower is the sender's level and what notifications need. Of a room that is not here nobody has any power.
func notificationPower(tx *storage.ReadTx, room *storage.Room, sender id.UserID) (push.Power, error) {
	var p push.Power
	create, err := tx.CurrentStateKey(room.NID, storage.StateKey{Type: "m.room.create"})
	if errors.Is(err, storage.ErrNotFound) {
		return p, nil
	}
	if err != nil {
		return p, err
	}
	version, err := gomatrixserverlib.GetRoomVersion(room.Version)
	if err != nil {
		return p, err
	}
	creator := create.Sender == sender
	if version.PrivilegedCreators() {
		extra := create.Get("content.additional_creators").Array()
		if creator || slices.ContainsFunc(extra, func(r gjson.Result) bool { return r.String() == string(sender) }) {
			p.Sender = math.MaxInt64
		}
	}
	levels, err := tx.CurrentStateKey(room.NID, storage.StateKey{Type: "m.room.power_levels"})
	if errors.Is(err, storage.ErrNotFound) {
		if creator && p.Sender == 0 {
			p.Sender = 100
		}
		return p, nil
	}
	if err != nil {
		return p, err
	}
	content := levels.Get("content")
	if p.Sender == 0 {
		p.Sender = content.Get("users_default").Int()
		content.Get("users").ForEach(func(user, level gjson.Result) bool {
			if user.String() != string(sender) {
				return true
			}
			p.Sender = level.Int()
			return false
		})
	}
	p.Levels = map[string]int64{}
	content.Get("notifications").ForEach(func(key, level gjson.Result) bool {
		p.Levels[key.String()] = level.Int()
		return true
	})
	return p, nil
}

// listener finds what decides about a user's notifications, from memory where possible. Only what an Update reads is kept: one may see account
// data that is not committed yet, but that is dropped by the commit, because that forgets the user after the entry was made. A View may have
// begun before a change, and be over after the change is forgotten here.
func (n *Notifier) listener(tx *storage.ReadTx, user id.UserID) (*listener, error) {
	if l := n.known(user); l != nil {
		return l, nil
	}
	l, err := n.load(tx, user)
	if err != nil || !tx.Writing() {
		return l, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.users) >= maxListeners {
		clear(n.users)
	}
	n.users[user] = l
	return l, nil
}

// known is what is kept of a user, or nil.
func (n *Notifier) known(user id.UserID) *listener {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.users[user]
}

func (n *Notifier) load(tx *storage.ReadTx, user id.UserID) (*listener, error) {
	stored, err := storedPushRules(tx, user)
	if err != nil {
		return nil, err
	}
	ignored, err := visibility.LoadIgnored(tx, user)
	if err != nil {
		return nil, err
	}
	// Clients that know nothing of subscriptions want to hear of all threads, see docs/adr/0015.
	threads, err := tx.HasThreadSubscriptions(user)
	if err != nil {
		return nil, err
	}
	return &listener{n.book.Compile(stored), ignored, threads}, nil
}

// Forget drops what is kept of a user, after a change of what decides about notifications: account data, and the first thing that they say of
// a thread.
func (n *Notifier) Forget(user id.UserID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.users, user)
	n.audiences.forget(user)
}

// CarryOver copies the tags, the push rules and the place among direct chats that a user has given one room to the room that replaces it.
//
// Spec: client-server-api#room-upgrades
func (n *Notifier) CarryOver(tx *storage.Tx, user id.UserID, from, to id.RoomID) error {
	if tags, err := tx.AccountData(user, from, "m.tag"); err == nil {
		if err := n.put(tx, user, storage.AccountData{RoomID: to, Type: "m.tag", Content: tags.Content}); err != nil {
			return err
		}
	} else if !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	if err := n.carryDirect(tx, user, from, to); err != nil {
		return err
	}
	stored, err := storedPushRules(&tx.ReadTx, user)
	if err != nil {
		return err
	}
	stored, changed := stored.CopyRoom(from, to)
	if !changed {
		return nil
	}
	content, err := json.Marshal(stored)
	if err != nil {
		return err
	}
	return n.put(tx, user, storage.AccountData{Type: storage.PushRulesType, Content: content})
}

// carryDirect adds the new room wherever m.direct has the old one.
func (n *Notifier) carryDirect(tx *storage.Tx, user id.UserID, from, to id.RoomID) error {
	d, err := tx.AccountData(user, "", "m.direct")
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var direct map[string][]id.RoomID
	if json.Unmarshal(d.Content, &direct) != nil {
		return nil // not in the form that the specification gives it, so nothing in it can be understood
	}
	changed := false
	for who, rooms := range direct {
		if slices.Contains(rooms, from) && !slices.Contains(rooms, to) {
			direct[who] = append(rooms, to)
			changed = true
		}
	}
	if !changed {
		return nil
	}
	content, err := json.Marshal(direct)
	if err != nil {
		return err
	}
	return n.put(tx, user, storage.AccountData{Type: "m.direct", Content: content})
}

// put stores account data at a fresh position. The user is woken with the room's events.
func (n *Notifier) put(tx *storage.Tx, user id.UserID, d storage.AccountData) (err error) {
	if d.Pos, err = tx.NextPos(); err != nil {
		return err
	}
	tx.OnCommit(func() { n.Forget(user) })
	return tx.SetAccountData(user, d)
}
