package engine

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The ledger itself is explored here: every order of the steps of a few calls and of the retry, and every command that
// may fail. A list is made from a row, and a page from the list. One write has changed the row before the calls.
//
// A state is reached by a path, which is a list of choices. A new ledger walks each path from its begin, so that nothing
// has to be copied. States that look alike are explored once.

// A call invalidates some of the row (r), the list (l) and the page (p), or all rows (a).
type call struct {
	who     string
	about   []subject
	at      int // its next step
	number  uint64
	failed  []subject
	orderly int // how many of the chain it leaves new: what they are made from is invalidated with them, or was before
}

// A made is what is made from another. Other processes read it all the time. They make it again as soon as it can be filled, which is
// the worst that they can do: once what it is made from is new, it stays so.
type made struct {
	of          subject
	filled, old bool
	holds       int
}

// An exploration is one state.
type exploration struct {
	l        *ledger
	row      subject
	chain    []made // the list, and the page
	calls    []*call
	failures int  // that may still happen
	together bool // one script can remove several of them

	oldRow   bool
	orderly  int // how many of the row and the chain were invalidated in order by calls that have ended
	mustBeOf int // once nothing is pending, so many of them must be new
	wrong    string

	trying  bool // the retry is at work
	round   *retryRound
	sending []subject // what the round has yet to hold
	then    []subject // what it is to hold after that
	held    []subject // what it holds
	didNot  []subject // what it has failed to hold
	toFind  bool      // all rows are among that, which cannot be held: they are yet to be removed
	oneStep bool
	sent    bool // there is nothing left to be held
	path    []step
}

func explore(abouts []string, failures int, together bool) *exploration {
	x := &exploration{l: newLedger(nil), failures: failures, together: together, oldRow: true}
	x.row = subject{x.l.account("row:"), "row:1"}
	names := map[rune]subject{'r': x.row, 'a': {x.row.of, ""}}
	for _, name := range []string{"list", "page"} {
		if strings.Contains(strings.Join(abouts, ""), name[:1]) {
			s := subject{x.l.account(name + ":"), name + ":1"}
			names[rune(name[0])] = s
			x.chain = append(x.chain, made{of: s, filled: true, old: true})
		}
	}
	for i, about := range abouts {
		c := &call{who: "call " + strconv.Itoa(i)}
		for _, which := range about {
			c.about = append(c.about, names[which])
		}
		x.calls = append(x.calls, c)
	}
	return x
}

// A step is what may happen next.
type step struct {
	who, what string
	about     []subject
	do        func()
}

func (s step) String() string {
	return s.who + " " + strings.Join(namesOf(s.about), ", ") + s.what + "\n"
}

// isOneStep is that of a Core.
func (x *exploration) isOneStep(about []subject) bool {
	whole := slices.ContainsFunc(about, func(s subject) bool { return s.name == "" })
	return !whole && (len(about) == 1 || x.together)
}

func (x *exploration) steps() (all []step) {
	for _, c := range x.calls {
		all = append(all, x.stepsOf(c)...)
	}
	return append(all, x.retrySteps()...)
}

// stepsOf are those of one call: it is added, each of its subjects is removed or held, the holds are released, and it is done.
func (x *exploration) stepsOf(c *call) []step {
	next := func(what string, do func()) []step { return []step{{c.who, what, nil, func() { do(); c.at++ }}} }
	oneStep := x.isOneStep(c.about)
	switch n := len(c.about); {
	case c.at == 0:
		return next("is added", func() { x.begin(c) })
	case c.at <= n:
		sent := c.about[c.at-1 : c.at]
		if oneStep {
			sent = c.about
		}
		return x.sendings(c.who, sent, !oneStep, func(ok bool) {
			if c.at += len(sent); !ok {
				c.failed = append(c.failed, sent...)
			}
		})
	case c.at == n+1 && !oneStep:
		return next("releases", func() { x.release(c.about, c.failed) })
	case c.at <= n+2:
		return next("is done", func() { x.end(c); c.at = n + 2 })
	}
	return nil
}

// sendings are what may become of a command that removes something, or holds it.
func (x *exploration) sendings(who string, about []subject, hold bool, then func(ok bool)) []step {
	all := []step{{who, " removed", about, func() { x.remove(about, hold); then(true) }}}
	if x.failures > 0 {
		all = append(all,
			step{who, " lost", about, func() { x.failures--; then(false) }},
			step{who, " removed, and the answer is lost", about, func() { x.failures--; x.remove(about, false); then(false) }})
	}
	return all
}

func (x *exploration) remove(about []subject, hold bool) {
	for _, s := range about {
		if m := x.made(s); m == nil {
			x.oldRow = false
		} else {
			m.filled = false
			m.holds += one(hold)
		}
	}
	x.fill()
}

// made is what s is of the chain, or nil if it is the row.
func (x *exploration) made(s subject) *made {
	for i := range x.chain {
		if x.chain[i].of == s {
			return &x.chain[i]
		}
	}
	return nil
}

// fill fills what can be filled, the first of the chain first.
func (x *exploration) fill() {
	old := x.oldRow
	for i := range x.chain {
		m := &x.chain[i]
		if !m.filled && m.holds == 0 {
			m.filled, m.old = true, old
		}
		if m.filled { // else a load reads through it
			old = m.old
		}
	}
}

func (x *exploration) release(about, failed []subject) {
	for _, s := range about {
		if m := x.made(s); m != nil && !slices.Contains(failed, s) {
			m.holds--
		}
	}
	x.fill()
}

// links are how much of the row and the chain is in order, if so much was before.
func (x *exploration) links(c *call, before int) (orderly int) {
	if c.about[0].of == x.row.of || slices.Contains(c.about, x.row) {
		orderly = 1
	}
	for i, m := range x.chain {
		if slices.Contains(c.about, m.of) && max(orderly, before) > i {
			orderly = i + 2
		}
	}
	return orderly
}

func (x *exploration) begin(c *call) {
	c.number = x.l.add(c.about)
	c.orderly = x.links(c, x.orderly)
	x.mustBeOf = max(x.mustBeOf, c.orderly)
}

func (x *exploration) end(c *call) {
	if begin := x.l.done(c.about, c.failed, false, c.number, time.Time{}); begin {
		x.trying = true
	}
	x.orderly = max(x.orderly, c.orderly)
	if len(c.failed) == 0 && len(c.about) == c.orderly && x.isOld(c.orderly) {
		x.wrong = "a call has returned nil, and what it was about is old"
	}
}

// isOld reports whether anything of the first n of the row and the chain is old.
func (x *exploration) isOld(n int) bool {
	for _, m := range x.chain[:max(0, n-1)] {
		if m.filled && m.old {
			return true
		}
	}
	return false
}

// retrySteps are those of the goroutine that tries again, see sendRound.
func (x *exploration) retrySteps() []step {
	switch {
	case !x.trying:
		return nil
	case x.round == nil:
		return []step{{"a round", "begins", nil, x.beginRound}}
	case len(x.sending) > 0 && x.sending[0].name == "":
		return []step{{"the round", "will remove what it finds", x.sending[:1], func() {
			x.sentInRound(x.sending[:1], true)
			x.toFind = true
		}}}
	case x.toFind && len(x.sending)+len(x.then)+len(x.didNot) == 0:
		all := []subject{{x.row.of, ""}}
		return x.sendings("the round: what it finds is", all, false, func(ok bool) {
			if x.toFind = false; !ok {
				x.didNot = all
			}
		})
	case len(x.sending) > 0:
		sent := x.sending[:1]
		if x.oneStep {
			sent = x.sending
		}
		return x.sendings("the round:", sent, !x.oneStep, func(ok bool) { x.sentInRound(sent, ok) })
	case !x.sent:
		return []step{{"the round", "goes on", nil, x.goOn}}
	default:
		return []step{{"the round", "ends", nil, x.endRound}}
	}
}

func (x *exploration) beginRound() {
	if x.round, x.trying = x.l.beginRound(); x.round == nil {
		return
	}
	x.trying = true
	failed, repeated := x.sorted()
	x.sending, x.then, x.held, x.didNot, x.sent = failed, repeated, nil, nil, false
	x.toFind, x.oneStep = false, len(repeated) == 0 && x.isOneStep(failed)
}

// sorted is that of the ledger, in one order: a path must lead to the same state each time.
func (x *exploration) sorted() (failed, repeated []subject) {
	failed, repeated, _ = x.l.sorted(x.round)
	return byName(failed), byName(repeated)
}

func byName(subjects []subject) []subject {
	slices.SortFunc(subjects, func(a, b subject) int { return strings.Compare(a.name, b.name) })
	return subjects
}

func (x *exploration) sentInRound(sent []subject, ok bool) {
	x.sending = x.sending[len(sent):]
	switch {
	case !ok:
		x.didNot = append(x.didNot, sent...)
	case !x.oneStep:
		x.held = append(x.held, sent...)
	}
}

// goOn holds what is to be repeated, once what had failed is held, and releases all at last.
func (x *exploration) goOn() {
	repeated := x.then
	x.then = nil
	switch {
	case x.oneStep:
	case len(x.didNot) > 0:
		x.didNot = append(x.didNot, repeated...)
		x.release(x.held, nil)
	case len(repeated) > 0:
		x.sending = repeated
		return
	default:
		if x.sending = byName(x.l.joining(x.round)); len(x.sending) > 0 {
			if slices.Contains(x.held, x.sending[0]) {
				x.wrong = "a round holds something twice"
			}
			return
		}
		x.release(x.held, nil)
	}
	x.sent = true
}

func (x *exploration) endRound() {
	x.l.endRound(x.round, x.didNot, false)
	x.round = nil
}

// verdict says what is wrong with a state in which nothing is left to be done.
func (x *exploration) verdict() string {
	if x.wrong == "" && x.isOld(x.mustBeOf) {
		return "nothing is pending, and what is made from the row is old for good"
	}
	return x.wrong
}

func (x *exploration) String() string {
	var out strings.Builder
	for _, c := range x.calls {
		fmt.Fprint(&out, c.at, c.number, namesOf(c.failed), c.orderly, " ")
	}
	for _, m := range x.chain {
		fmt.Fprint(&out, m.filled, m.old, m.holds, " ")
	}
	fmt.Fprint(&out, x.failures, x.oldRow, x.orderly, x.mustBeOf, x.wrong)
	fmt.Fprint(&out, x.trying, x.toFind, namesOf(x.sending), namesOf(x.then), namesOf(x.held), namesOf(x.didNot), x.oneStep, x.sent, ledgerText(x.l))
	return out.String()
}

func ledgerText(l *ledger) string {
	var out strings.Builder
	for _, s := range slices.SortedFunc(maps.Keys(l.pending), func(a, b subject) int { return strings.Compare(a.name, b.name) }) {
		fmt.Fprintf(&out, "%s %+v ", s.name, l.pending[s])
	}
	fmt.Fprint(&out, l.last, " ", l.waiting, " ", l.trying, " ")
	if r := l.round; r != nil {
		fmt.Fprint(&out, slices.Sorted(slices.Values(namesOf(r.group))), r.number, r.joins, r.held, namesOf(r.meanwhile))
	}
	return out.String()
}

// walk takes a path from its begin.
func walk(abouts []string, failures int, together bool, path []int) *exploration {
	x := explore(abouts, failures, together)
	for _, choice := range path {
		s := x.steps()[choice]
		x.path = append(x.path, s)
		s.do()
	}
	return x
}

func TestEveryOrderOfTwoCallsAndTheirRetriesLeavesNothingOld(t *testing.T) {
	for _, abouts := range [][]string{{"r", "l"}, {"lr", "l"}, {"lr", "r"}, {"lr", "lr"}, {"rl", "rl"}, {"a", "l"}, {"lr", "a"}} {
		exploreAll(t, abouts, 2)
	}
}

func TestEveryOrderOfThreeCallsAndTheirRetriesLeavesNothingOld(t *testing.T) {
	for _, abouts := range [][]string{{"r", "r", "l"}, {"r", "l", "l"}, {"lr", "r", "l"}, {"lr", "l", "l"}, {"rl", "r", "r"}, {"r", "a", "l"}} {
		exploreAll(t, abouts, 1)
	}
}

// A page is made from a list that is made from a row.
func TestEveryOrderOfCallsOnAChainOfThreeLeavesNothingOld(t *testing.T) {
	for _, abouts := range [][]string{{"rlp", "p"}, {"rl", "p"}, {"r", "lp"}, {"plr", "l"}, {"pl", "r"}} {
		exploreAll(t, abouts, 2)
	}
	exploreAll(t, []string{"r", "l", "p"}, 1)
}

var deep = flag.Bool("deep", false, "TestEveryOrderThatTakesLong, a quarter of an hour")

func TestEveryOrderThatTakesLong(t *testing.T) {
	if !*deep {
		t.Skip("-deep was not given")
	}
	for _, abouts := range [][]string{
		{"r", "r", "l"}, {"r", "l", "l"}, {"lr", "r", "l"}, {"lr", "l", "l"}, {"lr", "lr", "l"}, {"rl", "r", "r"}, {"r", "a", "l"}, {"plr", "plr"},
		{"r", "l", "p"}, {"rl", "l", "p"}, {"r", "lp", "p"}, {"plr", "l", "r"}, {"plr", "l", "p"}, {"plr", "r", "p"}, {"pr", "l", "p"}, {"pr", "l", "r"},
	} {
		exploreAll(t, abouts, 2)
	}
}

// exploreAll explores it where one script can remove several entries, and where each needs its own.
func exploreAll(t *testing.T, abouts []string, failures int) {
	exploreSo(t, abouts, failures, false)
	if slices.ContainsFunc(abouts, func(about string) bool { return len(about) > 1 }) {
		exploreSo(t, abouts, failures, true)
	}
}

func exploreSo(t *testing.T, abouts []string, failures int, together bool) {
	seen, ends := make(map[string]bool), 0
	for todo := [][]int{nil}; len(todo) > 0; {
		path := todo[0]
		todo = todo[1:]
		x := walk(abouts, failures, together, path)
		if text := x.String(); seen[text] {
			continue
		} else {
			seen[text] = true
		}
		n := len(x.steps())
		if n == 0 {
			ends++
		}
		if wrong := x.verdict(); n == 0 && wrong != "" || x.wrong != "" {
			t.Fatalf("%s, after\n%v\n%s", wrong, x.path, ledgerText(x.l))
		}
		for choice := range n {
			todo = append(todo, append(slices.Clone(path), choice))
		}
	}
	if ends == 0 {
		t.Fatal("no path ends")
	}
	t.Logf("%v, together %v: %d states, %d of them ends", abouts, together, len(seen), ends)
}

// Each call is under way when all is held, so it joins the group.
func TestRoundsEndThoughCallsNeverPause(t *testing.T) {
	x := explore([]string{"r"}, 0, false)
	row := x.calls[0].about
	x.l.done(row, row, false, x.l.add(row), time.Time{})
	r, _ := x.l.beginRound()
	list := func(i int) []subject { return []subject{{x.row.of, "list:" + strconv.Itoa(i)}} }
	joins := 0
	for number := x.l.add(list(0)); len(x.l.joining(r)) > 0 && joins < 2*deepest; joins++ {
		x.l.done(list(joins), nil, false, number, time.Time{})
		number = x.l.add(list(joins + 1))
	}
	hot := x.l.add(list(0)) // which is in the group, and is under way when the round ends
	x.l.endRound(r, nil, false)
	x.l.done(list(joins), nil, false, hot-1, time.Time{})
	x.l.done(list(0), nil, false, hot, time.Time{})
	if r, more := x.l.beginRound(); r != nil || more || joins != deepest {
		t.Errorf("there are rounds still, after %d joins: %s", joins, ledgerText(x.l))
	}
}
