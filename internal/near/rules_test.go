package near_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside/internal/near"
	"github.com/asidecache/aside/internal/near/nearscript"
)

// Each of these tests plays one of the designs that proof/near shows to be broken, B1 to B40, and would fail in it.

// B10, B11
func TestAnInvalidationWaitsForAReaderThatHasYetToDropItsCopy(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		r.set(1, "lamp")
		a, b := r.reader(), r.reader()
		a.warm(1)
		resume := a.log.Pause()
		w := b.writing(1, "chair")
		r.pass(near.Beat)
		if row, isNear := a.look(1); !isNear || row != "lamp" || w.over() {
			t.Errorf("a reader that hangs serves %q, from its copies: %v; the invalidation is over: %v", row, isNear, w.over())
		}
		resume()
		r.must(w.wait())
		if !a.log.Reading() {
			t.Error("the reader's lease was waited for, and not its ack")
		}
		a.shows(1, "chair")
	})
}

// B13, B14
func TestAReaderThatHangsIsWaitedForUntilItsLeaseIsOver(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		r.set(1, "lamp")
		a, b := r.reader(), r.reader()
		a.warm(1)
		resume := a.log.Pause()
		defer resume()
		began := time.Now()
		b.mustWrite(1, "chair")
		if took := time.Since(began); took > near.Delta+50*time.Millisecond {
			t.Errorf("that took %v", took)
		}
		if a.log.Reading() {
			t.Error("the reader may still serve copies")
		}
		a.shows(1, "chair")
		resume()
		r.until("the reader is back", func() bool { _, isNear := a.look(1); return isNear })
		a.shows(1, "chair")
	})
}

// B15, B16
func TestClocksMayDifferInTheirRates(t *testing.T) {
	const rate = 0.05
	if limit := float64(near.Delta) * (1 - rate) / (1 + rate); float64(near.Lease) > limit {
		t.Errorf("a lease lasts for %v, which is more than %v", near.Lease, time.Duration(limit))
	}
}

// B2
func TestTheLeaseIsCountedFromTheSendingOfNews(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		a := r.reader()
		answered := a.tap.hold("after news")
		answered.wait()
		r.pass(near.Lease - time.Millisecond)
		next := a.tap.hold("before news")
		answered.release()
		next.wait()
		if !a.log.Reading() {
			t.Error("there is no lease")
		}
		r.pass(time.Millisecond)
		if a.log.Reading() {
			t.Error("the lease lasts for longer than L after its NEWS was sent")
		}
		next.release()
	})
}

// B3
func TestTheLeaseBeginsAfterTheCopiesAreDropped(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		a := r.process()
		p := &watcher{log: a.log}
		a.log.Attach(p)
		a.lease()
		resume := a.log.Pause()
		r.pass(near.Delta)
		resume()
		r.until("the lease is back", a.log.Reading)
		if p.wipes < 2 || p.early {
			t.Errorf("everything was dropped %d times, with a lease: %v", p.wipes, p.early)
		}
	})
}

type watcher struct {
	log   *near.Log
	wipes int
	early bool
}

func (w *watcher) Drop(string) {}

func (w *watcher) Wipe() {
	w.wipes++
	w.early = w.early || w.log.Reading()
}

// B4, B9a
func TestALookFromBeforeARecordMakesNoCopy(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		a, b := r.reader(), r.reader()
		noted := a.copies.Note(name(1))
		tagged := a.copies.Note(name(2))
		other := a.copies.Note("product:3")
		b.mustWrite(1, "chair")
		r.must(b.log.Tell(context.Background(), near.About{Tags: []string{"red"}}))
		a.copies.Put(1, noted, "lamp", false, nil, in(time.Hour))
		a.copies.Put(2, tagged, "lamp", false, []string{"blue", "red"}, in(time.Hour))
		a.copies.Put(3, other, "lamp", false, []string{"blue"}, in(time.Hour))
		for id, want := range map[int]bool{1: false, 2: false, 3: true} {
			if _, _, ok := a.copies.Get(id); ok != want {
				t.Errorf("product %d: a copy is served: %v, want %v", id, ok, want)
			}
		}
	})
}

// B6: the ack is for what is applied, not for what was brought.
func TestAReaderThatHasTheAnswerButHasNotAppliedItIsWaitedFor(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		r.set(1, "lamp")
		a, b := r.reader(), r.reader()
		a.warm(1)
		sent := a.tap.hold("before news")
		sent.wait()
		w := b.writing(1, "chair")
		b.settle("note")
		answered := a.tap.hold("after news")
		sent.release()
		answered.wait()
		r.pass(near.Beat)
		if row, isNear := a.look(1); row != "lamp" || !isNear || w.over() {
			t.Errorf("before the answer is applied: %q, from copies: %v; the invalidation is over: %v", row, isNear, w.over())
		}
		answered.release()
		r.must(w.wait())
		a.shows(1, "chair")
	})
}

// settle waits until the process has sent a script.
func (p *process) settle(verb string) {
	p.r.t.Helper()
	p.r.until(verb+" was sent", func() bool { return p.tap.count(verb) > 0 })
}

// B8
func TestAfterAResetNothingFromBeforeIsServed(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		r.set(1, "lamp")
		a := r.reader()
		a.warm(1)
		noted := a.copies.Note(name(2))
		r.must(r.raw.Del(context.Background(), logKey).Err())
		r.pass(near.Beat + time.Millisecond)
		a.copies.Put(2, noted, "old", false, nil, in(time.Hour))
		for id := range 3 {
			if row, _, ok := a.copies.Get(id); ok {
				t.Errorf("product %d is served as %q", id, row)
			}
		}
		if !a.log.Reading() {
			t.Error("there is no lease")
		}
	})
}

// B9c
func TestAReaderThatHasMissedTooMuchLosesEverything(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		a := r.reader()
		a.warm(1)
		a.warm(2)
		sent := a.tap.hold("before news")
		sent.wait()
		r.set(1, "chair")
		first := r.records()[0].Score
		records := []redis.Z{{Score: first + near.Most + 10, Member: "last =" + name(1)}} // without messages
		for n := range near.Most + 9 {
			records = append(records, redis.Z{Score: first + 1 + float64(n), Member: strconv.Itoa(n) + " =other:1"})
		}
		r.must(r.raw.ZAdd(context.Background(), logKey, records...).Err())
		news := a.tap.count("news")
		sent.release()
		r.until("NEWS is applied", func() bool { return a.tap.count("news") > news })
		a.shows(1, "chair")
		if _, _, ok := a.copies.Get(2); ok {
			t.Error("another copy is served")
		}
	})
}

// note appends a record, which nobody waits for.
func (r *rig) note(names ...string) {
	r.t.Helper()
	words := "=" + strings.Join(names, " =")
	r.must(r.eval(nearscript.Note, 24*3600*1000, 1000, "", 4096, fmt.Sprint("n", time.Now().UnixNano(), len(r.records())), words, 1<<14).Err())
}

func (r *rig) eval(script string, args ...any) *redis.Cmd {
	return r.raw.Eval(context.Background(), nearscript.Head+script, []string{logKey}, args...)
}

// B12
func TestTheWaitIsCountedFromTheReplyToNote(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		a, b := r.reader(), r.reader()
		resume := a.log.Pause()
		defer resume()
		began := time.Now()
		sent := b.tap.hold("before note")
		w := b.writing(1, "chair")
		sent.wait()
		r.pass(near.Delta / 2)
		resume()
		r.pass(near.Beat) // a has a new lease
		a.log.Pause()
		sent.release()
		r.must(w.wait())
		if a.log.Reading() {
			t.Errorf("after %v the reader may still serve copies", time.Since(began))
		}
	})
}

// B17, B18, B19
func TestALogThatWasLostMayNotKnowAllReaders(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		r.set(1, "lamp")
		a, b := r.reader(), r.process()
		a.warm(1)
		a.log.Pause()
		r.must(r.raw.Del(context.Background(), logKey).Err())
		b.mustWrite(1, "chair")
		if a.log.Reading() {
			t.Error("the invalidation has not waited for a reader whose entry was lost")
		}
		a.shows(1, "chair")
	})
}

// B20
func TestALogThatIsLostDuringTheWait(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		r.set(1, "lamp")
		a, b := r.reader(), r.process()
		a.warm(1)
		a.log.Pause()
		w := b.writing(1, "chair")
		r.pass(near.Delta / 10)
		r.must(r.raw.Del(context.Background(), logKey).Err())
		r.must(w.wait())
		if a.log.Reading() {
			t.Error("the invalidation has not waited for a reader whose entry was lost")
		}
		if n := b.tap.count("note"); n < 2 {
			t.Errorf("NOTE was sent %d times", n)
		}
	})
}

// B23, B24
func TestARecordIsKnownByItsIdAndNonce(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		news := func(reader, id, nonce string) []any {
			t.Helper()
			got, err := r.eval(nearscript.News, 1_000_000, 1000, 10, reader, "mine-"+reader, id, nonce, "", "").Slice()
			r.must(err)
			return got
		}
		first := news("one", "", "")
		if first[0] != int64(0) {
			t.Errorf("a new reader is answered %v", first)
		}
		id := first[1].(string)
		low := func(nonce string) any {
			got, err := r.eval(nearscript.Low, 1000, "", id, nonce).Slice()
			r.must(err)
			return got[0]
		}
		born := redis.Z{Score: -1, Member: ""} // long ago
		r.must(r.raw.ZAdd(context.Background(), logKey, born).Err())
		if got := low("mine-one"); got != int64(0) {
			t.Errorf("beside a new reader, LOW answers %v", got)
		}
		if got := news("one", id, "mine-one"); got[0] != int64(1) {
			t.Errorf("a reader that has applied the last record is answered %v", got)
		}
		if got := low("mine-one"); got != int64(1) {
			t.Errorf("beside a reader that has applied the record, LOW answers %v", got)
		}
		if got := low("mine"); got != int64(-1) {
			t.Errorf("LOW answers %v about a record that is not there", got)
		}
		if got := news("two", id, "other"); got[0] != int64(0) {
			t.Errorf("a reader that has applied another record of that id is answered %v", got)
		}
		if got := news("two", id, "mine"); got[0] != int64(0) {
			t.Errorf("a reader that has applied another record of that id is answered %v", got)
		}
		if got := low("mine-one"); got != int64(0) { // B22
			t.Errorf("beside a reader that has applied another record of that id, LOW answers %v", got)
		}
	})
}

func TestALateDuplicateOfNoteLeavesItsRecordWhereItIs(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		note := func(nonce string) any {
			t.Helper()
			got, err := r.eval(nearscript.Note, 1_000_000, 1000, "", 100, nonce, "=product:1", 1000).Slice()
			r.must(err)
			return got[0]
		}
		first := note("one")
		if note("two") == first || note("one") != first || len(r.records()) != 2 {
			t.Errorf("after a duplicate LOG has %v", r.records())
		}
	})
}

// B40, and B25
func TestAMessageIsNotBelievedByAReaderThatHasMissedTheOneBefore(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		r.set(1, "lamp")
		a, b := r.reader(), r.reader()
		a.warm(1)
		last := r.records()[len(r.records())-1]
		r.set(1, "chair") // and a record about it, whose message is lost
		r.must(r.raw.ZAdd(context.Background(), logKey, redis.Z{Score: last.Score + 1, Member: "another =" + name(1)}).Err())
		b.mustWrite(2, "table")
		a.shows(1, "chair")
	})
}

// B26: the record is lost after its writer has returned, because the lease was over.
func TestALeaseThatWasOverTakesTheCopiesWithIt(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		r.set(1, "lamp")
		a := r.reader()
		a.warm(1)
		noted := a.copies.Note(name(2))
		resume := a.log.Pause()
		r.set(1, "chair")
		r.pass(near.Delta) // for which the writer has waited, whose record and message are lost
		resume()
		r.until("the lease is back", a.log.Reading)
		a.copies.Put(2, noted, "old", false, nil, in(time.Hour))
		if _, _, ok := a.copies.Get(2); ok {
			t.Error("a look from before is served")
		}
		a.shows(1, "chair")
	})
}

// B26a
func TestWhetherTheLeaseWasOverIsJudgedWhenNewsAreApplied(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		r.set(1, "lamp")
		a := r.reader()
		a.warm(1)
		sent := a.tap.hold("before news") // while there is a lease
		sent.wait()
		r.set(1, "chair")
		r.pass(near.Lease - 50*time.Millisecond) // the lease is over, and that of this NEWS would not be
		if a.log.Reading() {
			t.Error("the lease is not over")
		}
		sent.release()
		r.until("the lease is back", a.log.Reading)
		a.shows(1, "chair")
	})
}

// B27
func TestARecordThatWasLostIsMadeAgain(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		r.set(1, "lamp")
		a, b := r.reader(), r.reader()
		a.warm(1)
		sent := a.tap.hold("before news")
		sent.wait()
		w := b.writing(1, "chair")
		b.settle("low")
		if !r.lose(1) { // a failover
			t.Error("there is no record")
		}
		r.note(name(2)) // later than the one that was lost
		sent.release()
		r.must(w.wait())
		a.shows(1, "chair")
		if n := b.tap.count("note"); n < 2 {
			t.Errorf("NOTE was sent %d times", n)
		}
	})
}

// ghost is a reader that asks for news once, and never applies them.
func (r *rig) ghost() {
	r.t.Helper()
	r.must(r.eval(nearscript.News, 24*3600*1000, 1000, 1000, "ghost", "ghost", "", "", "", "").Err())
}

// B28
func TestARecordThatWasLostIsMadeAgainEvenWhenDeltaIsOver(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		b := r.reader()
		r.ghost()
		w := b.writing(1, "chair")
		r.pass(near.Delta - 10*time.Microsecond) // so that the next LOW is the one at the end of Δ
		r.ghost()
		last := b.tap.hold("before low")
		last.wait()
		r.pass(2 * time.Millisecond)
		if !r.lose(1) {
			t.Error("there is no record")
		}
		last.release()
		r.must(w.wait())
		if n := b.tap.count("note"); n != 2 {
			t.Errorf("NOTE was sent %d times", n)
		}
	})
}

func TestARecordThatIsLostAgainAndAgainIsAnError(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		a, b := r.reader(), r.reader()
		a.log.Pause()
		b.tap.then("note", func() { r.lose(1) })
		if err := b.write(1, "chair"); err == nil || !strings.Contains(err.Error(), "lost") {
			t.Errorf("the error is %v", err)
		}
		if n := b.tap.count("note"); n != 3 {
			t.Errorf("NOTE was sent %d times", n)
		}
	})
}

// B35
func TestTheWritersOwnCopyIsDroppedAndNotWaitedFor(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		r.set(1, "lamp")
		a := r.reader()
		a.warm(1)
		r.set(1, "chair")
		a.warm(1) // as it was before: the row was changed without an invalidation
		a.shows(1, "lamp")
		a.mustWrite(1, "table")
		a.shows(1, "table")
		if n := a.tap.count("low"); n != 0 {
			t.Errorf("a process that is alone has sent LOW %d times", n)
		}
	})
}

// B36
func TestAReaderThatEndsServesNothingWhenItIsForgotten(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		r.set(1, "lamp")
		a := r.reader()
		a.warm(1)
		forgotten := a.tap.hold("before close")
		log, ended := a.log, make(chan error)
		a.log = nil
		go func() { ended <- log.Leave(context.Background()) }()
		forgotten.wait()
		if _, _, ok := a.copies.Get(1); ok {
			t.Error("a copy is served")
		}
		forgotten.release()
		r.must(<-ended)
		if n, err := r.raw.ZCount(context.Background(), logKey, "(0", "(1e14").Result(); err != nil || n != 0 {
			t.Errorf("%d readers are left, %v", n, err)
		}
	})
}

// B37
func TestAReaderThatBeginsAgainHasAnotherName(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		a := r.reader()
		before := a.log.Self()
		r.pass(62 * time.Second)
		if a.log.Self() != "" {
			t.Error("the reader goes on, though nobody has read for a minute")
		}
		a.lease()
		if after := a.log.Self(); after == before || after == "" {
			t.Errorf("the reader's name was %q, and is %q", before, after)
		}
	})
}

func TestNoticesThatFailAreErrors(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		a, b := r.reader(), r.reader()
		broken := errors.New("no Redis")
		b.tap.fail("note", broken)
		if err := b.write(1, "chair"); !errors.Is(err, broken) {
			t.Errorf("without NOTE: %v", err)
		}
		b.tap.fail("note", nil)
		a.log.Pause()
		b.tap.fail("low", broken)
		r.ghost()
		if err := b.write(1, "chair"); !errors.Is(err, broken) {
			t.Errorf("without LOW: %v", err)
		}
		if a.log.Reading() {
			t.Error("Δ was not waited for")
		}
		r.ghost()
		ctx, cancel := context.WithTimeout(context.Background(), near.Delta/4)
		defer cancel()
		if err := b.log.Tell(ctx, about(1)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("in a short time: %v", err)
		}
		r.pass(2 * near.Delta) // until the rest of it has ended
	})
}
