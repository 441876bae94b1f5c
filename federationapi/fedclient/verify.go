package fedclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"

	"github.com/matrix-org/gomatrixserverlib"

	"github.com/hearthd/hearth/internal/fedtypes"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/pdu"
)

const (
	// parallelFetches is how many servers one batch of events asks for keys at once.
	parallelFetches = 64
	// shortTrouble is how often a server may have failed in a row and is asked for its keys all the same: an event that cannot be checked is
	// lost, and its server may only have been restarted.
	shortTrouble = 6
	// maxSignatures is how many signatures of one server on one object are looked at.
	maxSignatures = 16
	// policyKey is a key that is not published: it is looked for in the room, not here.
	policyKey = "ed25519:policy_server"
)

var (
	// ErrSignature says that an object lacks a good signature of a server that must have signed it.
	ErrSignature = errors.New("a signature is missing or wrong")
	// ErrNoKey says that the keys which could tell are not known, and may be later. It wraps ErrSignature.
	ErrNoKey = fmt.Errorf("%w: the key is not known or not valid any more", ErrSignature)
)

// check is one question: whether a server has signed a message at a moment.
type check struct {
	server     id.ServerName
	signatures map[string]string // of that server, by key id
	message    []byte
	at         int64 // ms since the epoch
	strict     bool  // keys must have been valid then, as far as their server has promised
}

// newCheck keeps, of the signatures of an object, those that can be looked at.
func newCheck(server id.ServerName, of map[string]string, message []byte, at int64, strict bool) (check, error) {
	c := check{server: server, message: message, at: at, strict: strict, signatures: make(map[string]string, len(of))}
	for keyID, signature := range of {
		if keyID != policyKey && validKeyID(keyID) {
			c.signatures[keyID] = signature
		}
	}
	if len(c.signatures) == 0 || len(c.signatures) > maxSignatures {
		return check{}, fmt.Errorf("%w: of %s", ErrSignature, server)
	}
	return c, nil
}

// answerable says whether a key is known that may have made one of the signatures.
func (c check) answerable(known *serverKeys) bool {
	for keyID := range c.signatures {
		if key, ok := known.keys[keyID]; ok && key.usable(c.at, c.strict) {
			return true
		}
	}
	return false
}

// answer is nil if there is at least one signature of a key that is known and was valid, and all such signatures hold.
//
// Spec: server-server-api#validating-hashes-and-signatures-on-received-events
func (c check) answer(known *serverKeys) error {
	good := 0
	for keyID, signature := range c.signatures {
		key, ok := known.keys[keyID]
		if !ok || !key.usable(c.at, c.strict) {
			continue
		}
		if !verify(key.public, c.message, signature) {
			return fmt.Errorf("%w: of %s with %s", ErrSignature, c.server, keyID)
		}
		good++
	}
	if good == 0 {
		return fmt.Errorf("%w: of %s", ErrNoKey, c.server)
	}
	return nil
}

// VerifyEvents says of each event whether all the servers it names have signed it: nil, or what is wrong. Keys that are needed and not known are
// fetched, once per server.
//
// Spec: server-server-api#validating-hashes-and-signatures-on-received-events
func (k *KeyRing) VerifyEvents(ctx context.Context, version gomatrixserverlib.IRoomVersion, events []fedtypes.Signed) []error {
	errs := make([]error, len(events))
	checks := make([][]check, len(events))
	strict := enforcesValidity(version)
	spread(len(events), func(i int) { checks[i], errs[i] = eventChecks(version, events[i], strict) })
	k.prepare(ctx, checks)
	spread(len(events), func(i int) {
		for _, c := range checks[i] {
			if errs[i] != nil {
				return
			}
			var known *serverKeys
			if known, errs[i] = k.get(ctx, c.server); errs[i] == nil {
				errs[i] = c.answer(known)
			}
		}
	})
	return errs
}

// enforcesValidity says that keys must have been valid when they signed, as since room version 5 (MSC2077).
func enforcesValidity(version gomatrixserverlib.IRoomVersion) bool {
	return !version.SignatureValidityCheck(1, gomatrixserverlib.PublicKeyNotValid)
}

func eventChecks(version gomatrixserverlib.IRoomVersion, event fedtypes.Signed, strict bool) ([]check, error) {
	raw, message := []byte(event.Raw), event.Message
	if message == nil {
		parsed, err := pdu.Parse(version, raw)
		if err != nil {
			return nil, err
		}
		raw, message = parsed.Raw, parsed.Signed
	}
	var signed struct {
		Signatures map[string]json.RawMessage `json:"signatures"`
	}
	if err := json.Unmarshal(raw, &signed); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSignature, errSignatures)
	}
	checks := make([]check, 0, len(event.Servers))
	for _, server := range event.Servers {
		var of map[string]string
		if text, ok := signed.Signatures[string(server)]; ok && json.Unmarshal(text, &of) != nil {
			return nil, fmt.Errorf("%w: %w", ErrSignature, errSignatures)
		}
		c, err := newCheck(server, of, message, event.TS, strict)
		if err != nil {
			return nil, err
		}
		checks = append(checks, c)
	}
	return checks, nil
}

// prepare fetches the keys that are needed for checks.
func (k *KeyRing) prepare(ctx context.Context, checks [][]check) {
	wanted := map[id.ServerName]bool{} // and whether it is asked even if it is left alone
	for _, of := range checks {
		for _, c := range of {
			if _, ok := wanted[c.server]; ok || c.server == k.client.name {
				continue
			}
			if known, err := k.get(ctx, c.server); err == nil && !c.answerable(known) && !known.fresh(k.clock.Now()) {
				wanted[c.server] = k.client.backoff.get(ctx, c.server).Failures <= shortTrouble
			}
		}
	}
	var all sync.WaitGroup
	places := make(chan struct{}, parallelFetches)
	for server, urgent := range wanted {
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		all.Go(func() {
			defer func() { <-places }()
			_, _ = k.refresh(ctx, server, urgent) // what is not known afterwards is the answer
		})
	}
	all.Wait()
}

// spread calls fn for 0 to n-1, on all processors where that pays. A panic of fn is one of the caller, who may survive it.
func spread(n int, fn func(i int)) {
	const pays = 16
	workers := min(runtime.GOMAXPROCS(0), n/pays+1)
	if workers == 1 {
		for i := range n {
			fn(i)
		}
		return
	}
	var all sync.WaitGroup
	panics := make(chan string, workers)
	for w := range workers {
		all.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					panics <- fmt.Sprintf("%v\n%s", p, debug.Stack())
				}
			}()
			for i := w; i < n; i += workers {
				fn(i)
			}
		})
	}
	all.Wait()
	select {
	case p := <-panics:
		panic(p)
	default:
	}
}

// VerifyJSON says whether a server has signed an object at a moment, in ms since the epoch, with a key that was valid then: nil, or what is wrong.
//
// Spec: appendices#checking-for-a-signature
func (k *KeyRing) VerifyJSON(ctx context.Context, server id.ServerName, raw json.RawMessage, at int64) error {
	o, err := parseObject(raw)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSignature, err)
	}
	c, err := newCheck(server, o.signatures[string(server)], o.message, at, true)
	if err != nil {
		return err
	}
	return k.settle(ctx, c, false)
}

// settle answers one question, after fetching the keys if that is needed.
func (k *KeyRing) settle(ctx context.Context, c check, urgent bool) error {
	known, err := k.get(ctx, c.server)
	if err == nil && !c.answerable(known) {
		known, err = k.refresh(ctx, c.server, urgent)
	}
	if err != nil {
		return err
	}
	return c.answer(known)
}
