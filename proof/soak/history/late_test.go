package history

import (
	"strings"
	"testing"
	"time"
)

func TestVerdictsOfRowsThatAreLoadedFromAStandby(t *testing.T) {
	for _, s := range []story{
		{
			name: "before the standby has it", stale: Lagging,
			events: and(plain(2, 1), at(Invalidated, 1, 2, 1.2, 1.3), at(Read, 2, 1, 1.9, 2)),
		},
		{
			name: "cached although the standby had yet to get it", want: "version 2 or later",
			events: and(plain(2, 1), at(Invalidated, 1, 2, 1.2, 1.3), at(Read, 2, 1, 2.4, 2.5)),
		},
		{
			name: "InTx, before the standby has it", stale: Lagging,
			events: and(inTx(2, 1), at(Commit, 1, 2, 2), at(Read, 2, 1, 2.9, 3)),
		},
		{
			name: "InTx, afterwards", want: "version 2 or later",
			events: and(inTx(2, 1), at(Commit, 1, 2, 2), at(Read, 2, 1, 3.1, 3.2)),
		},
		{
			name: "its hold was deleted meanwhile", stale: LagLost,
			events: and(inTx(2, 1), at(Commit, 1, 2, 2), at(WipeBegin, 0, 0, 2.5), at(WipeEnd, 0, 0, 2.6), at(Read, 2, 1, 5.9, 6)),
		},
		{
			name: "its hold was deleted meanwhile, after the TTL", want: "version 2 or later",
			events: and(inTx(2, 1), at(Commit, 1, 2, 2), at(WipeBegin, 0, 0, 2.5), at(WipeEnd, 0, 0, 2.6), at(Read, 2, 1, 6.1, 7)),
		},
		{
			name: "a hold was deleted later", want: "version 2 or later",
			events: and(inTx(2, 1), at(Commit, 1, 2, 2), at(WipeBegin, 0, 0, 3.5), at(WipeEnd, 0, 0, 3.6), at(Read, 2, 1, 3.9, 4)),
		},
		{
			name: "InvalidateAll has left no hold where nothing was", stale: Pending,
			events: and(plain(2, 1), flagged(Everything, ofAllKeys(at(Invalidated, 1, 0, 1.2, 1.3))), at(Read, 2, 1, 5.2, 5.3)),
		},
		{
			name: "InvalidateAll, after the TTL", want: "version 2 or later",
			events: and(plain(2, 1), flagged(Everything, ofAllKeys(at(Invalidated, 1, 0, 1.2, 1.3))), at(Read, 2, 1, 5.4, 5.5)),
		},
		{
			name: "the process that failed to invalidate asks the standby", stale: Lagging,
			events: and(plain(2, 1), at(Barred, 2, 2, 1.2, 1.3), at(Read, 2, 1, 1.9, 2)),
		},
		{
			name: "the process that failed to invalidate, afterwards", want: "in this process",
			events: and(plain(2, 1), at(Barred, 2, 2, 1.2, 1.3), at(Read, 2, 1, 2.4, 2.5)),
		},
	} {
		cfg := newTestChecker().cfg
		cfg.Lag, cfg.Lagging = time.Second, func(uint16) bool { return true }
		s.check(t, NewChecker(cfg, []int64{1}))
	}
}

func TestVerdictsOfNearCopies(t *testing.T) {
	lost := func(flag uint8) []told { return during(flag|OfNear, 0, 1.1, 1.5) }
	for _, s := range []story{
		{
			name: "a DEL by others", stale: Pending,
			events: and(plain(2, 1), flagged(Foreign, at(Invalidated, 0, 0, 1.2, 1.3)), at(Read, 2, 1, 3.2, 3.3)),
		},
		{
			name: "a DEL by others, when all copies are too old", want: "version 2 or later",
			events: and(plain(2, 1), flagged(Foreign, at(Invalidated, 0, 0, 1.2, 1.3)), at(Read, 2, 1, 3.4, 3.5)),
		},
		{
			name: "an invalidation while records may be lost", stale: NearLate,
			events: and(plain(2, 1), lost(0), at(Invalidated, 1, 2, 1.2, 1.3), at(Read, 2, 1, 2.4, 2.5)),
		},
		{
			name: "an invalidation just after that", stale: NearLate,
			events: and(plain(2, 1), lost(0), at(Invalidated, 1, 2, 1.9, 2), at(Read, 2, 1, 2.4, 2.5)),
		},
		{
			name: "an invalidation just after that, and all rights are over", want: "version 2 or later",
			events: and(plain(2, 1), lost(0), at(Invalidated, 1, 2, 1.9, 2), at(Read, 2, 1, 2.6, 2.7)),
		},
		{
			name: "records were lost twice", stale: NearLate,
			events: and(plain(2, 1), lost(Twice), at(Invalidated, 1, 2, 1.2, 1.3), at(Read, 2, 1, 3.4, 3.5)),
		},
		{
			name: "records were lost twice, when all copies are too old", want: "version 2 or later",
			events: and(plain(2, 1), lost(Twice), at(Invalidated, 1, 2, 1.2, 1.3), at(Read, 2, 1, 3.6, 3.7)),
		},
	} {
		cfg := newTestChecker().cfg
		cfg.Near = 2 * time.Second
		s.check(t, NewChecker(cfg, []int64{1}))
	}
}

func (s story) check(t *testing.T, c *Checker) {
	t.Run(s.name, func(t *testing.T) {
		r := tellOf(c, s.events)
		if s.want == "" && r.Violations != 0 || s.want != "" && (r.Violations != 1 || !strings.Contains(r.Printed[0], s.want)) {
			t.Errorf("%d violations, want %q: %v", r.Violations, s.want, r.Printed)
		}
		if s.stale != "" && r.Stale[s.stale] != 1 || s.stale == "" && len(r.Stale) > 0 {
			t.Errorf("stale reads: %v, want one that is %q", r.Stale, s.stale)
		}
	})
}
