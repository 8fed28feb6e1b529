package history

import (
	"encoding/binary"
	"io"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Now reads CLOCK_MONOTONIC, which is the same in all processes of a machine.
func Now() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err)
	}
	return ts.Nano()
}

// A Recorder sends the events of one process. Its methods may be called from many goroutines.
//
// What obliges later reads is stamped and sent under one lock. The time up to which a frame tells
// everything is stamped and sent under that lock as well. So the Checker may take that time at its
// word, although goroutines race and the process may be stopped at any instruction.
type Recorder struct {
	mu    sync.Mutex
	w     io.Writer
	frame []byte
	fail  func(error) // called when nobody listens any more
}

// NewRecorder returns a Recorder that writes whole frames to w.
func NewRecorder(w io.Writer, fail func(error)) *Recorder {
	return &Recorder{w: w, frame: make([]byte, frameHeader, maxFrame), fail: fail}
}

// Add records an event whose times are set: a read or a load. It may be sent later.
func (r *Recorder) Add(events ...Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range events {
		r.append(e)
	}
}

// Tell stamps the end of e and sends it: when it returns, the Checker will get to know e even if the process is killed.
// It returns the stamp.
func (r *Recorder) Tell(e Event) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.End = Now()
	r.append(e)
	r.flush()
	return e.End
}

// Beat tells every so often that the process has nothing more to tell, until stop is closed.
func (r *Recorder) Beat(every time.Duration, stop <-chan struct{}) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		r.Flush()
		select {
		case <-tick.C:
		case <-stop:
			return
		}
	}
}

// Flush sends what is recorded.
func (r *Recorder) Flush() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flush()
}

func (r *Recorder) append(e Event) {
	if len(r.frame)+eventSize > maxFrame {
		r.flush()
	}
	r.frame = e.appendTo(r.frame)
}

func (r *Recorder) flush() {
	binary.LittleEndian.PutUint16(r.frame, uint16(len(r.frame)-frameHeader))
	binary.LittleEndian.PutUint64(r.frame[2:], uint64(Now()))
	if _, err := r.w.Write(r.frame); err != nil {
		r.fail(err)
	}
	r.frame = r.frame[:frameHeader]
}
