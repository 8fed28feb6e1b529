package near

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside/internal/near/nearscript"
)

var (
	newsScript  = redis.NewScript(nearscript.Head + nearscript.News)
	closeScript = redis.NewScript(nearscript.Close)
)

const (
	idleAfter  = time.Minute // without a near read, the reader ends
	slowInARow = 4           // NEWS that take longer than a beat; then the reader gives up
)

// A reader is the loop that gives the copies of a process their lease. It is one goroutine, and a second one that waits for
// messages on a connection of its own. Its life:
//
//	newReader   no lease, and a name that no reader ever has again
//	NEWS        enters the reader on the server, says what it has applied, and brings what is new
//	apply       drops what is new, or everything; then the lease begins, until L after the NEWS was sent
//	messages    bring records at once: what they are about is dropped, and the next NEWS says so
//	end         no lease, no copies, and then the server forgets the reader. In this order.
//
// Everything but the messages' arrival is done by the one goroutine: the lease begins only after the copies are dropped, and
// never after the end.
type reader struct {
	log  *Log
	id   string
	wake chan struct{} // a message has come, or something else to look at
	done chan struct{} // closed when the reader has ended

	ctx  context.Context // ends when the reader is to stop
	stop context.CancelFunc

	mu       sync.Mutex // guards messages
	messages []string
	missed   atomic.Bool // messages may have been

	// Only run's goroutine touches what follows.

	applied record // the last record that is applied, as NEWS told
	brought record // a later one, up to which messages have brought all records, which are applied
	ahead   int    // messages since the last NEWS
	readers int    // that there are

	due     int64 // when NEWS is to be sent
	soonest int64 // before which it is not sent
	failed  int   // NEWS in a row
	slow    int   // NEWS in a row
	lastUse int64
	swept   int64
}

// A record is known by its id and nonce. The zero value is none.
type record struct{ id, nonce string }

// A restful keeps a reader that has given up from beginning at once.
type restful struct {
	until int64
	last  time.Duration
}

const (
	shortestRest = 10 * time.Second
	longestRest  = 5 * time.Minute
)

func newReader(l *Log) *reader {
	r := &reader{log: l, id: newID(), wake: make(chan struct{}, 1), done: make(chan struct{}), readers: 1, lastUse: now(), swept: now()}
	r.ctx, r.stop = context.WithCancel(context.Background())
	return r
}

// run is the life of the reader. It ends when the Log stops it, when the client is closed, when no copy was
// asked for for a minute, and when NEWS are slow. The next near read begins another reader, which has
// another name: what the server still knows of this one must not speak for the next.
func (r *reader) run() {
	defer close(r.done)
	defer r.log.ended()
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		r.listen()
	}()
	for r.sleep() {
		r.takeMessages()
		if now() >= r.due && !r.news() {
			break
		}
		if !r.goesOn() {
			break
		}
	}
	r.stop()
	r.end()
	<-heard
}

// sleep waits until NEWS is due, or something has happened. It returns false when the reader is to stop.
func (r *reader) sleep() bool {
	timer := time.NewTimer(time.Duration(max(0, r.due-now())))
	defer timer.Stop()
	select {
	case <-r.wake:
	case <-timer.C:
	case <-r.ctx.Done():
	}
	if gate := r.log.gate.Load(); gate != nil {
		select {
		case <-*gate:
		case <-r.ctx.Done():
		}
	}
	return r.ctx.Err() == nil
}

// goesOn looks whether copies are used at all, and removes dead ones now and then.
func (r *reader) goesOn() bool {
	now := now()
	if r.log.used.Swap(false) {
		r.lastUse = now
	}
	if now-r.lastUse >= int64(idleAfter) {
		return false
	}
	if now-r.swept >= int64(sweepEvery) {
		r.swept = now
		for _, c := range *r.log.copies.Load() {
			c.sweep()
		}
	}
	return true
}

const sweepEvery = 10 * time.Second

// news sends NEWS, and applies the answer. It returns false if the reader gives up.
//
// The lease is counted from before the NEWS was first sent: the server enters the reader later, and so keeps it for longer.
func (r *reader) news() bool {
	sent := now()
	reply, err := r.askNews()
	took := now() - sent
	// Every Invalidate in every process waits for this reader. A reader that is slow again and
	// again serves its process best by serving no copies.
	if took > int64(beat) {
		if r.slow++; r.slow >= slowInARow {
			r.giveUp()
			return false
		}
	} else {
		r.slow = 0
	}
	switch {
	case errors.Is(err, redis.ErrClosed):
		return false
	case r.ctx.Err() != nil:
		return false
	case err != nil: // copies are served until the lease is over, and not after that
		r.failed++
		pause := int64(min(20*time.Millisecond<<min(r.failed-1, 6), time.Second))
		r.due = now() + pause
		r.soonest = r.due
		if r.failed == 3 {
			r.log.Warn("near copies: no news", err)
		}
		return true
	}
	if r.failed >= 3 {
		r.log.Warn("near copies: no news", nil)
	}
	r.failed = 0
	r.waitForGate()
	r.apply(reply, sent)
	return true
}

// waitForGate is for Pause: what was answered is not applied either.
func (r *reader) waitForGate() {
	if gate := r.log.gate.Load(); gate != nil {
		select {
		case <-*gate:
		case <-r.ctx.Done():
		}
	}
}

// A reply is the answer to NEWS.
type reply struct {
	reset   bool
	last    record
	readers int
	about   []string
}

func (r *reader) askNews() (reply, error) {
	args := []any{milliseconds(life), milliseconds(Delta), most, r.id, r.log.writer.nonce(),
		r.applied.id, r.applied.nonce, r.brought.id, r.brought.nonce}
	ctx, cancel := context.WithTimeout(r.ctx, Delta) // an answer after Δ would give a lease that is over
	defer cancel()
	result, err := r.log.run(ctx, newsScript, args)
	if err != nil {
		return reply{}, err
	}
	return parseNews(result)
}

func parseNews(result any) (reply, error) {
	list, _ := result.([]any)
	if len(list) < 4 {
		return reply{}, unexpected(result)
	}
	known, ok0 := list[0].(int64)
	id, ok1 := list[1].(string)
	nonce, ok2 := list[2].(string)
	readers, ok3 := list[3].(int64)
	if !ok0 || !ok1 || !ok2 || !ok3 {
		return reply{}, unexpected(result)
	}
	r := reply{reset: known == 0, last: record{id, nonce}, readers: int(readers)}
	for _, about := range list[4:] {
		text, ok := about.(string)
		if !ok {
			return reply{}, unexpected(result)
		}
		r.about = append(r.about, text)
	}
	return r, nil
}

// apply drops what is new. Whether the lease was over is judged now, and not when NEWS was sent: then everything is dropped.
// While there was no lease a failover may have lost a record, whose writer did not wait for this reader.
//
// The lease begins last of all.
func (r *reader) apply(got reply, sent int64) {
	if got.reset || now() >= r.log.until.Load() {
		r.log.wipe()
	} else {
		for _, about := range got.about {
			r.log.drop(about)
		}
	}
	r.applied, r.brought, r.ahead = got.last, record{}, 0
	r.readers = max(1, got.readers)
	r.log.until.Store(sent + int64(lease))

	// The more readers there are, the longer each waits before it asks again: NEWS of all of them together
	// take the server some 5 % of a core, whatever their number.
	r.soonest = sent + int64(r.readers)*int64(share)
	r.due = sent + int64(beat)
	if got.reset || len(got.about) > 0 {
		r.due = r.soonest // that NEWS is the ack
	}
}

// takeMessages drops what messages are about. A message may be late, come twice, or be of another LOG: to drop copies is always
// right. But only a record that follows the one that was brought or applied before is told to the next NEWS. Else a record
// would be missed that no message has brought.
func (r *reader) takeMessages() {
	r.mu.Lock()
	messages := r.messages
	r.messages = nil
	r.mu.Unlock()
	wanted := r.missed.Swap(false)
	for _, text := range messages {
		m := parseMessage(text)
		r.log.drop(m.about)
		last := r.brought
		if last == (record{}) {
			last = r.applied
		}
		// A message of another process wakes the reader, whose NEWS are the ack that the writer there waits
		// for. One's own process waits for nobody: its copies are dropped by then.
		switch {
		case m.id <= number(last.id): // known
		case m.whole && m.before == last:
			r.brought = m.record
			r.ahead++
			wanted = wanted || !r.log.writer.made(m.record.nonce) || r.ahead >= most/4
		default: // one was missed in between: NEWS bring it
			wanted = true
		}
	}
	if wanted {
		r.due = min(r.due, max(r.soonest, now()))
	}
}

// A message tells of a record.
type message struct {
	id     uint64
	record record
	before record // the record before
	about  string
	whole  bool // there is more than the id
}

func parseMessage(text string) message {
	fields := strings.SplitN(text, " ", 5)
	m := message{id: number(fields[0])}
	if len(fields) == 5 {
		m.whole = true
		m.record, m.before = record{fields[0], fields[3]}, record{fields[1], fields[2]}
		m.about = fields[4]
	}
	return m
}

func number(id string) uint64 {
	n, _ := strconv.ParseUint(id, 10, 64)
	return n
}

// giveUp keeps the next reader from beginning for a while: a reader whose NEWS are slow makes each Invalidate slow.
func (r *reader) giveUp() {
	r.log.Warn("near copies: given up for a while", errors.New("NEWS take longer than "+beat.String()))
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	rest := &r.log.rest
	rest.last = max(shortestRest, min(2*rest.last, longestRest))
	if now()-rest.until > int64(longestRest) {
		rest.last = shortestRest
	}
	rest.until = now() + int64(rest.last)
}

// end stops serving first: a server that has forgotten the reader lets writers return at once.
func (r *reader) end() {
	r.log.until.Store(0)
	r.log.wipe()
	if r.log.Client == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), beat)
	defer cancel()
	_, _ = r.log.run(ctx, closeScript, []any{r.id}) // else the entry expires
}
