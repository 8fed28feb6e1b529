package history

import (
	"strings"
	"testing"
	"time"
)

// Key 1 is made from key 0.
func ofMade(t told) told {
	t.Key = 1
	return t
}

func apart(t told) told {
	t.Flag |= Apart
	return ofAllKeys(t)
}

func briefly(t told) told {
	t.Flag |= Brief
	return t
}

func TestVerdictsOfWhatIsMadeFromAnotherKey(t *testing.T) {
	for _, s := range []story{
		{
			name: "the source alone was invalidated", stale: Alone,
			events: and(plain(2, 1), at(Invalidated, 1, 2, 1.2, 3), ofMade(at(Read, 2, 1, 4, 5))),
		},
		{
			name: "both were invalidated", want: "version 2 or later was obligatory",
			events: and(plain(2, 1), at(Invalidated, 1, 2, 1.2, 3), ofMade(at(Invalidated, 1, 2, 1.2, 3)), ofMade(at(Read, 2, 1, 4, 5))),
		},
		{
			name: "the version of the source may be read", events: and(plain(2, 1), ofMade(at(Read, 2, 2, 1.2, 2))),
		},
		{
			name: "a version that the source never had", want: "nobody had written", events: and(ofMade(at(Read, 2, 7, 1, 2))),
		},
		{
			name: "InTx, both were held", want: "version 2 or later",
			events: and(inTx(2, 1), ofMade(at(Held, 1, 2, 1.1, 1.2)), at(Commit, 1, 2, 2), ofMade(at(Read, 2, 1, 2.1, 4))),
		},
		{
			name: "InTx, the source alone was held", stale: Alone, none: Alone,
			events: and(inTx(2, 1), at(Commit, 1, 2, 2), ofMade(at(Read, 2, 1, 2.1, 4))),
		},
		{
			name: "InTx, the hold of the source was wiped", stale: HoldLost, none: HoldLost,
			events: and(ofMade(at(Held, 1, 0, 0.1, 0.2)), flagged(InTx, at(Write, 1, 2, 1)), ofMade(at(Held, 1, 2, 1.1, 1.2)),
				at(Held, 1, 2, 1.1, 1.2), at(WipeBegin, 0, 0, 1.5), at(WipeEnd, 0, 0, 1.6), at(Commit, 1, 2, 2), ofMade(at(Read, 2, 1, 2.1, 4))),
		},
		{
			name: "the TTLs add up", stale: Alone, events: and(plain(2, 1), ofMade(at(Read, 2, 1, 15, 16))),
		},
		{
			name: "after both TTLs", want: "version 2 or later", events: and(plain(2, 1), ofMade(at(Read, 2, 1, 22, 23))),
		},
		{
			name: "all keys, on one server", want: "version 2 or later",
			events: and(plain(2, 1), ofAllKeys(at(Invalidated, 1, 0, 1.2, 3)), ofMade(at(Read, 2, 1, 4, 5))),
		},
		{
			name: "all keys, one server after the other", stale: Alone,
			events: and(plain(2, 1), apart(at(Invalidated, 1, 0, 1.2, 3)), ofMade(at(Read, 2, 1, 4, 5))),
		},
		{
			name: "a failover that brought the source back", stale: Lost,
			events: and(plain(2, 1), at(LossBegin, 0, 0, 1.5), ofMade(at(Invalidated, 1, 2, 1.6, 1.7)), at(LossEnd, 0, 0, 2), ofMade(at(Read, 2, 1, 7.9, 8))),
		},
		{
			name: "a failover that brought the source back, after both TTLs", want: "version 2 or later",
			events: and(plain(2, 1), at(LossBegin, 0, 0, 1.5), ofMade(at(Invalidated, 1, 2, 1.6, 1.7)), at(LossEnd, 0, 0, 2), ofMade(at(Read, 2, 1, 8.1, 9))),
		},
		{
			name: "made during a planned failover", stale: Switched,
			events: and(plain(2, 1), planned(at(LossBegin, 0, 0, 1.5)), ofMade(at(Invalidated, 1, 2, 1.6, 1.7)), planned(at(LossEnd, 0, 0, 2)), ofMade(at(Read, 2, 1, 4.9, 5))),
		},
		{
			name: "made during a planned failover, after its TTL", want: "version 2 or later",
			events: and(plain(2, 1), planned(at(LossBegin, 0, 0, 1.5)), ofMade(at(Invalidated, 1, 2, 1.6, 1.7)), planned(at(LossEnd, 0, 0, 2)), ofMade(at(Read, 2, 1, 5.1, 6))),
		},
		{
			name: "a hold with the short life ran out under a fault", stale: Outlived, none: Outlived,
			events: and(flagged(InTx, at(Write, 1, 2, 1)), briefly(at(Held, 1, 2, 1.1, 1.2)), ofMade(briefly(at(Held, 1, 2, 1.1, 1.2))),
				at(FaultBegin, 0, 0, 1.5), at(Commit, 1, 2, 3), at(FaultEnd, 0, 0, 8), ofMade(at(Read, 2, 1, 3.1, 4))),
		},
	} {
		t.Run(s.name, func(t *testing.T) {
			r := tellOf(newCheckerOfTwo(), s.events)
			if s.want == "" && r.Violations != 0 || s.want != "" && (r.Violations != 1 || !strings.Contains(r.Printed[0], s.want)) {
				t.Errorf("%d violations, want %q: %v", r.Violations, s.want, r.Printed)
			}
			if s.stale != "" && r.Stale[s.stale] != 1 || s.stale == "" && len(r.Stale) > 0 {
				t.Errorf("stale reads: %v, want one that is %q", r.Stale, s.stale)
			}
			if s.none != "" && r.Excused[s.none] == 0 {
				t.Errorf("writes that do not oblige: %v, want %q", r.Excused, s.none)
			}
		})
	}
}

func newCheckerOfTwo() *Checker {
	c := newTestChecker()
	cfg := c.cfg
	cfg.Keys, cfg.Brief = 2, time.Second
	cfg.Made = func(key uint16) (uint16, bool) { return 0, key == 1 }
	return NewChecker(cfg, []int64{1})
}
