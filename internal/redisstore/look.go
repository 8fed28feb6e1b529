package redisstore

import (
	"context"
	"reflect"
	"sync"
	"time"
)

// A looked is what a look found.
type looked struct {
	Doc    []byte // nil is the missing key
	Err    error
	Shared *Decoding // nil if doc is the caller's own
}

// A Decoding is done once for several callers; see values.decodeFor.
type Decoding struct {
	Once  sync.Once
	Value reflect.Value // invalid if it has failed

	Opening sync.Once
	Opened  any // what a seal was opened to
}

// Look reads the document of a name. It is the whole of a hit on the side of Redis, so it allocates as
// little as it can: it is batcher.run for one read, spelled out, since ops and replies would be slices.
//
// Three ways lead to the document. A value that is known to be large has a way of its own, so only
// its own callers wait for it. A caller with few others beside it sends a GET on its own goroutine.
// All others share the round trip of a batch.
func (s *Store) Look(ctx context.Context, b *Budget, name string) looked {
	if s.Large.Has(name) {
		return s.lookLarge(ctx, b, name)
	}
	l := s.batcherOf(name, Reads)
	l.mu.Lock()
	if seat := l.seat(name); seat != nil {
		l.goAlone(seat, name)
		defer l.landAlone(seat)
		return s.lookAlone(ctx, b, name)
	}
	r, at, leads := l.join(ctx, b, []Op{readOp(name)})
	l.mu.Unlock()
	came := time.Now()
	if leads && l.lead(ctx, b, r, 1) { // nobody has joined, so it is a GET after all
		defer l.land(r, nil)
		return s.lookAlone(ctx, b, name)
	}
	found := l.await(ctx, b, r, name, at, 1, came)[0]
	if found.Err != nil { // one failure is enough for a call: the rest of it does without Redis
		b.Spend()
		return looked{Err: found.Err} // the batch may still be in the queue, and others may be joining it
	}
	return looked{found.Doc, nil, r.decodings[at]}
}
