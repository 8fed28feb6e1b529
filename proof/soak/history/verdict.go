package history

import "time"

// calledStale judges what WithVerify has said of a hit. It takes two looks, with settled in between,
// to call a hit stale. So by the first look a write must have landed in the database that does not
// oblige yet: one of a writer that has not come to its Invalidate, has died, or could not reach Redis.
func (c *Checker) calledStale(k *register, h happened) {
	c.result.CalledStale++
	looked := h.End - settled.Nanoseconds()
	for _, w := range k.writes[k.above(k.sure.at(looked)):] {
		if w.begun <= looked && w.flag&RolledBack == 0 {
			return
		}
	}
	h.Start = looked
	c.violation(h.process, h.Event, "WithVerify has called a hit stale, though all that was written had been invalidated")
}

// settled is how long a hit must differ from the database to be called stale.
const settled = time.Second
