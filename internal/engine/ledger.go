package engine

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside/internal/durations"
	"github.com/asidecache/aside/internal/near"
	"github.com/asidecache/aside/internal/redisstore"
)

// A ledger is the pending invalidations of one client: those of all caches of this process with
// that client which Redis has not confirmed. Entries, tags and whole caches are pending in the same
// way.
//
// The life of a pending invalidation: it is added before its first attempt is sent, since an
// attempt confirms what was pending when it was sent and nothing newer. (An Invalidate that is
// called while another is under way may speak of a later write.) If Redis confirms it, it is over.
// If not, it has failed, and is tried again in the background until Redis confirms it. None is
// given up: this process does not know for how long another one keeps what it stored. As long as an
// invalidation has failed, this process does not read its entry from the cache. For a single entry
// that holds during the first attempt as well.
//
// Say that the invalidation of A has failed, and that of B is confirmed after it. B may be made
// from A, so it may be made again from the old A before that is gone. So the invalidation of B is
// to be repeated: it is sent once more, although Redis has confirmed it. The same holds for what is
// under way when something fails, or when what had failed is over: it may have been removed before.
//
// What has failed and what is to be repeated are sent as one group, in rounds: all of it is held, and
// then released. What is under way when all is held, or has come to be repeated meanwhile, joins the
// group before anything is released: C of the group may be made from B. So the group grows until
// nothing is under way but what began when all of it was held. That is made from the new rows, and
// joins the group only if a hold of it turns out to be gone.
//
// (The rule was modelled first, see proof/nested: R3 until held. To send only what has failed
// breaks, as six other ways do. What overlaps was found by exploring this code, see ledger_test.go.)
//
// The callers of its methods:
//
//	Invalidate     add, attempt, done                         (write.go, intx.go)
//	a retry        beginRound, sorted, joining, holdWasGone,  (retry.go: one goroutine at a time,
//	               endRound, and again until nothing waits    that of the Cache that began it)
//	a read         has, and without a lock barring            (retry.go: mayNotRead)
//
// A ledger sends nothing and does not know Redis: it is a table under a lock. Every change of the
// table goes through set, which keeps the counts.
type ledger struct {
	most    int           // pending invalidations of an account that are remembered one by one, see mostPending
	sending chan struct{} // holds one while a round is sent

	mu       sync.Mutex // guards the rest, and parts of the accounts
	accounts map[string]*account
	pending  map[subject]pending
	underWay map[subject]bool // those of pending whose attempt is
	last     uint64           // the last number that a pending invalidation was given
	waiting  int              // how many have failed or are to be repeated, and are in no round
	round    *retryRound      // under way; nil if none
	trying   bool             // a goroutine is at work
	left     bool             // the goroutine has stopped, since its Cache was closed
}

// A subject is what an invalidation is about. Two of one account may overlap: the whole of it, and one of
// its entries. The table has a line for each, and has, confirmEach and fold look at both.
type subject struct {
	of   *account
	name string // of an entry, or a tag as it is rendered; "" stands for all that the account is of
}

// hasNear reports whether there may be near copies of it.
func (s subject) hasNear() bool { return s.of.near.Load() != nil }

// An account is the part of a ledger that the caches of one name share, or those whose tags have one journal.
type account struct {
	ledger  *ledger
	of      string                   // the prefix of the entries, or the name of the journal, which holds no colon
	books   *redisstore.Books        // nil if it is of entries
	barring atomic.Int64             // pending invalidations that keep reads from the cache: reads take no lock while there are none
	lag     atomic.Int64             // the longest WithReplicaLag of those that share it
	near    atomic.Pointer[near.Log] // what tells the near copies of its entries; nil if none of them has WithNear

	scope  string // guarded by ledger.mu, as these are: of the caches that share it
	stored stored
	caches int // open ones
	failed int
	again  int // to be repeated
}

// pending is what is known of the newest invalidation of a subject. Older ones need no place of their own:
// a removal that Redis confirms removes what all before it were to remove.
//
//	sent       the first attempt is under way
//	failed     it was not confirmed: reads go to the loader until it is
//	again      it may have been made again from what another one had yet to remove: it is to be repeated with that
//	inRound    a round has it in its group, and will confirm it; a newer attempt takes it out
//	over       none of these: it is not in the table
type pending struct {
	number  uint64
	sent    bool // an attempt is under way
	failed  bool // one was not confirmed
	refused bool // by an ACL: it has failed, but nothing waits for it
	again   bool // it is to be repeated
	suspect bool // the attempt under way may have been too early, so it does not end that
	inRound bool // which will confirm it

	lagging time.Time // until when replicas may lack what was folded into it; see fold
	swept   bool      // it was confirmed before
}

// bars reports whether it keeps reads from the cache.
//
// While the first attempt is under way, a read overlaps an Invalidate that has not returned, so any answer
// would be right. For an entry the strict answer costs nothing: its reads go to the loader for a round
// trip. For a tag or a whole cache it would turn off every read of the Cache for as long as that takes.
func (p pending) bars(s subject) bool {
	return p.failed || p.sent && s.of.books == nil && s.name != ""
}

// waits reports whether it must be sent once more, and no round sends it.
func (p pending) waits() bool { return (p.failed && !p.refused || p.again) && !p.inRound }

// A retryRound sends a group once more.
type retryRound struct {
	group     []subject
	number    uint64 // of the last pending invalidation when it began
	began     time.Time
	joins     int       // how often the group has grown
	held      uint64    // that number when all of the group was held, and nothing joined it; 0 before
	meanwhile []subject // what was confirmed since then, and is over unless a hold turns out to be gone
}

func newLedger(rdb redis.UniversalClient) *ledger {
	return &ledger{sending: make(chan struct{}, 1), most: mostPending(rdb), accounts: make(map[string]*account),
		pending: make(map[subject]pending), underWay: make(map[subject]bool)}
}

// mostPending is how many failed invalidations of an account are remembered one by one. If there
// are more, the whole account is pending instead. That bounds the memory of an outage, and it ends
// with a SCAN of every node. A client that does not show its nodes could never end it, so for such
// a client there is no bound.
func mostPending(rdb redis.UniversalClient) int {
	if showsItsNodes(rdb) {
		return 10_000
	}
	return math.MaxInt
}

// account returns that of the entries under a prefix.
func (l *ledger) account(prefix string) *account { return l.accountOf(prefix, nil) }

// tagAccount returns that of the tags in a journal.
func (l *ledger) tagAccount(b redisstore.Books) *account { return l.accountOf(b.Journal, &b) }

// entriesNamed are the entries of these names, whatever caches they are of.
func (l *ledger) entriesNamed(names []string) []subject {
	entries := make([]subject, len(names))
	for i, name := range names {
		entries[i] = subject{l.account(prefixOf(name)), name}
	}
	return entries
}

func namesOf(subjects []subject) []string {
	names := make([]string, len(subjects))
	for i, s := range subjects {
		names[i] = s.name
	}
	return names
}

func (l *ledger) accountOf(of string, b *redisstore.Books) *account {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.accounts[of]
	if a == nil {
		a = &account{ledger: l, of: of, books: b}
		l.accounts[of] = a
	}
	return a
}

// join notes a Cache that shares the account, and what it stores. All caches of an account have one
// scope: else an InvalidateTags of one could not find what another has filled under the same names.
// They also store the same: else each would take the entries of the others for misses, or for its
// own.
func (a *account) join(scope string, as stored) error {
	a.ledger.mu.Lock()
	defer a.ledger.mu.Unlock()
	switch {
	case a.caches > 0 && a.scope != scope:
		return fmt.Errorf("WithScope(%q), and another Cache of this client and name has WithScope(%q)", scope, a.scope)
	case a.caches > 0 && (a.stored.codec != as.codec || a.stored.version != as.version):
		return fmt.Errorf("it stores %v, and another Cache of this client and name %v", as, a.stored)
	}
	a.scope, a.stored = scope, as
	a.caches++
	return nil
}

// leave is called by a Cache that is closed.
func (a *account) leave() {
	a.ledger.mu.Lock()
	defer a.ledger.mu.Unlock()
	a.caches--
}

// lags notes the WithReplicaLag of a Cache that shares the account.
func (a *account) lags(d time.Duration) {
	d = min(d, durations.Forever)
	for {
		if old := a.lag.Load(); old >= int64(d) || a.lag.CompareAndSwap(old, int64(d)) {
			return
		}
	}
}

// longestLag is the lag that each invalidation must note. The Cache that makes it may have none,
// and the entries may be those of another Cache that lags.
func (a *account) longestLag() time.Duration { return time.Duration(a.lag.Load()) }

// subjects are those of the account with these names.
func (a *account) subjects(names []string) []subject {
	all := make([]subject, len(names))
	for i, name := range names {
		all[i] = subject{a, name}
	}
	return all
}

// has reports whether an entry must not be read from the cache.
func (a *account) has(name string) bool {
	l := a.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	entry, all := subject{a, name}, subject{a, ""}
	return l.pending[entry].bars(entry) || l.pending[all].bars(all)
}

// failedCount is how many invalidations have failed and are pending.
func (a *account) failedCount() int {
	a.ledger.mu.Lock()
	defer a.ledger.mu.Unlock()
	return a.failed
}

// set replaces what is known of a subject, and keeps count. It is the only way to change the table: barring
// is read by every hit without a lock, and a count that is off by one would turn a cache off for good, or
// serve what is pending.
func (l *ledger) set(s subject, p pending) {
	before := l.pending[s]
	l.waiting += one(p.waits()) - one(before.waits())
	s.of.failed += one(p.failed) - one(before.failed)
	s.of.again += one(p.again) - one(before.again)
	s.of.barring.Add(int64(one(p.bars(s)) - one(before.bars(s))))
	if p.sent || p.failed || p.again {
		l.pending[s] = p
	} else {
		delete(l.pending, s)
	}
	if p.sent {
		l.underWay[s] = true
	} else {
		delete(l.underWay, s)
	}
}

// add notes that an attempt is about to be sent, and returns its number.
func (l *ledger) add(subjects []subject) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	for _, s := range subjects {
		// What had failed before stays failed: this attempt may fail as well. A round that has the older one
		// may not confirm this one, which speaks of a later write.
		p := l.pending[s]
		p.again = p.again && !(p.inRound && l.round.held > 0) // it is safe then
		p.number, p.sent, p.suspect, p.inRound = l.last, true, false, false
		l.set(s, p)
	}
	return l.last
}

// done notes how an attempt ended. The attempt was added with this number, and began then. failed
// is what Redis has not confirmed of subjects, and refused tells that an ACL protects it. The rest
// was confirmed. done reports whether somebody must begin to try again.
func (l *ledger) done(subjects, failed []subject, refused bool, number uint64, began time.Time) (begin bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail(failed, refused, number) // first: what is confirmed is repeated then
	isFailed, over := setOf(failed), false
	for _, s := range subjects {
		over = !isFailed[s] && l.confirm(s, number, began) || over
	}
	if over {
		l.repeatWhatIsUnderWay()
	}
	return l.begin()
}

// failed notes invalidations that were not confirmed and that nobody has added.
//
// What an ACL protects fails until somebody grants the right. Reads do not use the cache for it,
// and it is tried again. But what is invalidated after it is not repeated: that might go on for
// ever.
func (l *ledger) failed(subjects []subject, refused bool) (begin bool) {
	return l.done(nil, subjects, refused, l.add(subjects), time.Time{})
}

func (l *ledger) fail(failed []subject, refused bool, number uint64) {
	if len(failed) > 0 && !refused {
		l.repeatWhatIsUnderWay()
	}
	for _, s := range failed {
		p, ok := l.pending[s]
		if !ok { // a later attempt has removed it, perhaps before the rest of this one
			l.set(s, pending{number: number, again: !refused})
			continue
		}
		p.sent, p.failed, p.refused, p.again, p.suspect, p.inRound = false, true, refused, false, false, false
		l.set(s, p)
	}
	for _, a := range l.accounts {
		l.fold(a)
	}
}

// repeatWhatIsUnderWay is called when something has failed, or when what had failed is over.
func (l *ledger) repeatWhatIsUnderWay() {
	for s := range l.underWay {
		p := l.pending[s]
		p.again, p.suspect = !p.failed, true
		l.set(s, p)
	}
}

// fold makes the whole account pending in place of very many of its subjects.
//
// The ledger then forgets which they were. But each of them was owed the lag of the replicas as
// well: after a removal of everything, an entry that was not there may still be filled with an old
// row. When the lag has passed since the fold, what is loaded is new. So a removal that begins
// before that is not enough: another one must follow.
func (l *ledger) fold(a *account) {
	failed, again := a.failed > l.most, a.again > l.most
	if !failed && !again {
		return
	}
	for s, p := range l.pending {
		if s.of == a && s.name != "" && !p.refused && (failed && p.failed || again && p.again) {
			l.set(s, pending{})
		}
	}
	l.last++
	all := subject{a, ""}
	p := l.pending[all]
	p.number, p.again, p.failed, p.inRound = l.last, again || p.again, failed || p.failed, false
	p.lagging, p.swept = time.Now().Add(a.longestLag()), false
	l.set(all, p)
}

// confirm notes that Redis has confirmed an attempt for s. It reports whether s had failed, and is over.
func (l *ledger) confirm(s subject, number uint64, began time.Time) (over bool) {
	p, ok := l.pending[s]
	if p.number > number { // it speaks of a later write, and has an attempt of its own
		return false
	}
	switch {
	case p.failed && began.Before(p.lagging): // removed, but replicas may still lack what was folded into it
		p.sent, p.inRound, p.swept = false, false, true
		l.set(s, p)
	case p.suspect || l.mayBeOld(number, p):
		l.set(s, pending{number: number, again: true, inRound: p.inRound})
	case ok:
		over = p.failed
		if l.round != nil {
			l.round.meanwhile = append(l.round.meanwhile, s)
		}
		l.set(s, pending{})
	}
	if s.name == "" {
		l.confirmEach(s.of, number)
	}
	return over
}

// mayBeOld reports whether what an attempt has removed may have been made again from old rows: while others have failed
// or are to be repeated. An attempt is safe that was added when all of a round's group was held.
func (l *ledger) mayBeOld(number uint64, p pending) bool {
	others, r := l.waiting-one(p.waits()), l.round
	return others > 0 || r != nil && (r.held == 0 || number <= r.held)
}

// confirmEach confirms the entries of an account after everything of it was removed. It confirms
// none if each is owed the lag of the replicas as well: an entry that was not there has not been
// held for the lag.
func (l *ledger) confirmEach(a *account, number uint64) {
	for s, p := range l.pending {
		if s.of == a && s.name != "" && p.failed && p.number <= number && a.longestLag() == 0 {
			l.set(s, pending{number: p.number, again: p.again})
		}
	}
}

// resume reports whether somebody must begin to try again, since the goroutine that tried has
// stopped.
func (l *ledger) resume() (begin bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.left && l.begin()
}

// begin reports whether somebody must begin to try again.
func (l *ledger) begin() bool {
	if l.trying || !l.unfinished() {
		return false
	}
	l.trying, l.left = true, false
	return true
}

// unfinished reports whether something must be sent once more.
func (l *ledger) unfinished() bool {
	if l.waiting > 0 {
		return true
	}
	for _, a := range l.accounts {
		if a.failed+a.again > 0 {
			return true
		}
	}
	return false
}

// beginRound returns a round of what is to be sent again now, or nil if there is nothing. more
// tells whether anything is unfinished, due or not yet due. If nothing is, the goroutine that tries
// ends.
func (l *ledger) beginRound() (r *retryRound, more bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r = &retryRound{number: l.last, began: time.Now()}

	// What was removed but must be removed once more, when the replicas have caught up, waits for that.
	// Until then it is too early to repeat what came after it: that would be repeated a second time.
	early := false
	isEarly := func(p pending) bool { return p.swept && r.began.Before(p.lagging) }
	for _, p := range l.pending {
		early = early || isEarly(p)
	}
	for s, p := range l.pending {
		if !p.failed && (!p.again || early) || isEarly(p) {
			continue
		}
		p.inRound = true
		l.set(s, p)
		r.group = append(r.group, s)
	}
	// This ends the trying, under the lock: an invalidation that fails from now on finds that
	// nobody is trying, and begins.
	more = l.unfinished()
	if l.trying = l.trying && more; len(r.group) == 0 {
		return nil, more
	}
	l.round = r
	return r, more
}

// sorted divides the group of a round by why it is sent. It is asked again for each try of the round: an
// invalidation that failed meanwhile has joined the failed.
func (l *ledger) sorted(r *retryRound) (failed, repeated, refused []subject) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range r.group {
		switch p := l.pending[s]; {
		case p.refused:
			refused = append(refused, s)
		case p.failed:
			failed = append(failed, s)
		default:
			repeated = append(repeated, s)
		}
	}
	return failed, repeated, refused
}

// any reports whether something is to be sent once more.
func (l *ledger) any() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unfinished()
}

// joining is called when all of the group is held, and what has its tags is removed. It returns what joins the group: what is
// under way, or is to be repeated. If there is nothing, what is added from now on is safe. Where writes never pause, that is
// taken to be so after deepest times.
func (l *ledger) joining(r *retryRound) (joined []subject) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.held > 0 {
		return nil
	}
	isIn := setOf(r.group)
	for s, p := range l.pending {
		if p.inRound || p.failed && !p.sent || p.refused { // what has failed meanwhile waits for the next round
			continue
		}
		p.again, p.suspect, p.inRound = !p.failed, p.sent, true
		l.set(s, p)
		if !isIn[s] {
			joined = append(joined, s)
		}
	}
	if r.joins++; len(joined) == 0 || r.joins == deepest {
		r.held = l.last
	}
	r.group = append(r.group, joined...)
	return joined
}

// deepest is how many entries may be made from each other, where writes never pause.
const deepest = 8

// holdWasGone notes that a hold of the group was gone, and returns what joins the group. While it was gone,
// what was invalidated meanwhile may have been made from old rows, although it was taken to be over.
func (l *ledger) holdWasGone(r *retryRound) (joining []subject) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range r.meanwhile {
		if _, other := l.pending[s]; !other {
			l.set(s, pending{number: r.number, again: true, inRound: true})
			joining = append(joining, s)
		}
	}
	r.group, r.meanwhile, r.joins, r.held = append(r.group, joining...), nil, 0, 0
	return joining
}

// endRound notes how a round ended: what has failed of its group, and the rest, which was confirmed.
func (l *ledger) endRound(r *retryRound, failed []subject, refused bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.round = nil
	isFailed := setOf(failed)

	mayBeSource := func(s subject) bool { return !l.pending[s].refused }
	if r.held == 0 && slices.ContainsFunc(r.group, mayBeSource) { // it was one step, which nothing could join, or has failed
		l.repeatWhatIsUnderWay()
	}
	// As long as something of the group has failed, or something else meanwhile, the rest may be made
	// again from its old rows, and is repeated with it. What an ACL protects may fail for ever, so
	// nothing is repeated with it.
	again := l.waiting > 0
	for _, s := range failed {
		again = again || !l.pending[s].refused && !refused
	}
	var whole []*account
	for _, s := range r.group {
		p := l.pending[s]
		switch {
		case !p.inRound: // it has become another one
			continue
		case isFailed[s]:
			p.inRound, p.refused = false, p.failed && (p.refused || refused)
		case p.failed && r.began.Before(p.lagging):
			p.swept, p.inRound = true, false
		default:
			p = pending{number: p.number, again: again}
		}
		l.set(s, p)
		if !isFailed[s] && s.name == "" {
			whole = append(whole, s.of)
		}
	}
	for _, a := range whole {
		l.confirmEach(a, r.number)
	}
}

// stop notes that nobody tries, although something is pending.
func (l *ledger) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trying, l.left = false, true
}

// A stored is what a Cache stores. Types of one shape are the same.
type stored struct {
	value, codec reflect.Type
	version      int64 // WithVersion and the shape
}

func (s stored) String() string {
	return fmt.Sprintf("a %v of version %x as %v has it", s.value, uint64(s.version), s.codec)
}

// showsItsNodes reports whether all nodes behind a client can be walked over.
func showsItsNodes(rdb redis.UniversalClient) bool {
	switch rdb.(type) {
	case *redis.Client, *redis.ClusterClient:
		return true
	default:
		return false
	}
}

// prefixOf is what the names of the entries of a Cache begin with: no rendered key has a colon. A name without one is no entry.
func prefixOf(name string) string { return name[:strings.LastIndexByte(name, ':')+1] }

func setOf(subjects []subject) map[subject]bool {
	set := make(map[subject]bool, len(subjects))
	for _, s := range subjects {
		set[s] = true
	}
	return set
}

func one(is bool) int {
	if is {
		return 1
	}
	return 0
}
