package engine

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/asidecache/aside/internal/document"
)

// A Want is one entry that a call needs and its look did not give.
//
// Its life: the edge makes it, a fetch brings it, and the edge takes the value. Until it is done,
// only the goroutine of the fetch writes to it. From then on nobody does.
//
// Whether it may fill is decided in three steps. A lease, or a claimed document, gives it the right
// (Source). A hold or a lag that it meets, or a tag that is invalidated during the load, takes the
// right away (barred). Redis compares Source when the fill arrives.
type Want struct {
	Row      any // the key, and the value once there is one; only the edge looks at it
	Name     string
	Read     *Reading        // by GetMany; nil for Get and for a refresh
	Unusable []byte          // the document that was found and could not be used: to be replaced if it is still that
	Source   *document.Entry // what a fill replaces: the lease, or the document that is refreshed; nil: nothing may be filled
	since    int64           // when the load got that right, in ms since 1970, by the server's clock
	snapshot *tagSnapshot    // of that moment
	Fresh    time.Time       // until when what is stored is fresh, as its document says
	FilledAs Witness         // the document that its fill has stored; none without a verifier
	lags     bool            // it met a hold that is there because replicas of the database lag
	barred   bool            // it must not be filled: one of its tags was invalidated during the load, or the load met a lag

	waiter  *waiter         // somebody else has the lease, and this waits for it; else nil
	waited  bool            // at some time somebody else had the lease
	direct  bool            // load, and fill nothing
	decided bool            // by Redis: it gave the document, or accepted the fill
	Adopted *document.Entry // the document that it gave
	rounds  int             // leases asked for
	Loaded
	done atomic.Bool // loaded is the result, and is not written to any more: a caller that leaves may take it
}

// got takes the result of a want.
func (w *Want) got(l Loaded) {
	w.Loaded = l
	w.done.Store(true)
}

// leased reports whether a want has a lease.
func (w *Want) leased() bool { return w.Source != nil && w.Source.State == document.Leased }

// stores reports whether the value of a want is to be stored.
func (w *Want) stores() bool { return w.err == nil && w.Data != nil && w.Life > 0 }

func namesIn(wants []*Want) []string {
	names := make([]string, len(wants))
	for i, w := range wants {
		names[i] = w.Name
	}
	return names
}

// A Loaded is what one load found for one key, beside the value: ready to be handed out and stored.
type Loaded struct {
	Data []byte          // the value as the codec has it; nil if there is none or it could not be encoded
	Life time.Duration   // how long it is fresh, before jitter; not to be stored unless it is positive
	Tags []string        // rendered
	took time.Duration   // of the load
	err  error           // what the callers get
	ctx  context.Context // of the load; nil if there was none

	lagged bool // replicas of the database may lack a write to its rows: neither it nor what is made from it is to be stored
}

// Absent reports whether there is no row, as err says then.
func (l *Loaded) Absent() bool { return isAbsence(l.err) }
