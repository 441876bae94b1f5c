package federationapi

import (
	"context"
	"sync"
	"time"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/web"
)

// Bounds of what an inbox has in hand and remembers.
const (
	maxUnderWay    = 2                // transactions of one server at the same time; a server that follows the specification has one
	maxRemembered  = 8                // answers to one server
	maxSenders     = 4096             // servers whose answers are remembered
	maxTransaction = 10 * time.Minute // for which a transaction is worked on
	// maxInHand is the length of all transactions under way, in bytes. Their servers may have hung up long ago, so that nothing else bounds it.
	maxInHand = 128 << 20
)

// inbox works on transactions, each once: a repetition waits for the first or gets its answer. The work goes on when the other server hangs up,
// because it will ask again and should then find it done. Answers are remembered in memory only: to receive events once more does nothing, and
// what must not come twice (messages to devices) has ids of its own.
type inbox struct {
	process func(ctx context.Context, origin id.ServerName, t transaction) pduResults
	life    context.Context // work goes on until it ends
	end     context.CancelFunc
	workers sync.WaitGroup

	mu      sync.Mutex
	senders map[id.ServerName]*sender
	inHand  int // bytes
}

// sender is what an inbox knows of a server.
type sender struct {
	underWay map[string]*delivery
	done     []*delivery // newest last
}

// delivery is one transaction.
type delivery struct {
	origin   id.ServerName
	txnID    string
	body     transaction
	finished chan struct{} // closed when answer is there, or the work was given up
	answer   pduResults    // nil: given up
}

func newInbox(process func(context.Context, id.ServerName, transaction) pduResults) *inbox {
	b := &inbox{process: process, senders: map[id.ServerName]*sender{}}
	b.life, b.end = context.WithCancel(context.Background())
	return b
}

// run returns when ctx has ended, and the work with it.
func (b *inbox) run(ctx context.Context) {
	<-ctx.Done()
	b.mu.Lock()
	b.end() // while open cannot begin anything
	b.mu.Unlock()
	b.workers.Wait()
}

func (b *inbox) deliver(d *delivery) {
	ctx, cancel := context.WithTimeout(b.life, maxTransaction)
	defer cancel()
	defer b.finish(d)
	answer := b.process(ctx, d.origin, d.body)
	if ctx.Err() == nil {
		d.answer = answer
	}
}

// finish tells those who wait, and remembers the answer.
func (b *inbox) finish(d *delivery) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.inHand -= d.body.size
	d.body = transaction{}
	s := b.senders[d.origin]
	delete(s.underWay, d.txnID)
	if d.answer != nil {
		if len(s.done) == maxRemembered {
			s.done = s.done[1:]
		}
		s.done = append(s.done, d)
	}
	close(d.finished)
}

// take returns the answer to a transaction.
func (b *inbox) take(ctx context.Context, origin id.ServerName, txnID string, body transaction) (pduResults, error) {
	for {
		d, first, err := b.open(origin, txnID, body)
		if err != nil {
			return nil, err
		}
		select {
		case <-d.finished:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if d.answer != nil {
			return d.answer, nil
		}
		if first || ctx.Err() != nil {
			return nil, context.DeadlineExceeded // the next repetition tries again
		}
	}
}

// open finds the delivery of a transaction, or begins it, which makes the caller its first.
func (b *inbox) open(origin id.ServerName, txnID string, body transaction) (d *delivery, first bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.senders[origin]
	if s == nil {
		b.makeRoom()
		s = &sender{underWay: map[string]*delivery{}}
		b.senders[origin] = s
	}
	if d = s.underWay[txnID]; d != nil {
		return d, false, nil
	}
	for _, d := range s.done {
		if d.txnID == txnID {
			return d, false, nil
		}
	}
	if b.life.Err() != nil {
		return nil, false, b.life.Err()
	}
	if len(s.underWay) >= maxUnderWay || b.inHand+body.size > maxInHand {
		return nil, false, web.LimitExceeded(time.Second)
	}
	b.inHand += body.size
	d = &delivery{origin: origin, txnID: txnID, body: body, finished: make(chan struct{})}
	s.underWay[txnID] = d
	b.workers.Go(func() { b.deliver(d) })
	return d, true, nil
}

// makeRoom forgets some server that has nothing under way when there are too many.
func (b *inbox) makeRoom() {
	if len(b.senders) < maxSenders {
		return
	}
	for name, s := range b.senders {
		if len(s.underWay) == 0 {
			delete(b.senders, name)
			return
		}
	}
}
