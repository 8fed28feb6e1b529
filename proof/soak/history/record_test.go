package history

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"
)

func TestStairsAnswerAsAListOfAllRaisesWould(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var s stairs
		var all []stair
		for range 30 {
			r := stair{from: random.Int64N(50), version: random.Int64N(50)}
			all = append(all, r)
			s.raise(r.from, r.version)
		}
		if random.IntN(2) == 0 {
			s.forget(20)
		}
		for at := int64(20); at < 52; at++ {
			want := int64(0)
			for _, r := range all {
				if r.from <= at {
					want = max(want, r.version)
				}
			}
			if got := s.at(at); got != want {
				t.Fatalf("at %d: %d, want %d, after %v", at, got, want, all)
			}
		}
	}
}

func TestWhatARecorderSendsIsReadBackInFramesThatAPipeTakesWhole(t *testing.T) {
	var wire writes
	r := NewRecorder(&wire, func(err error) { t.Fatal(err) })
	var sent []Event
	for i := range int64(1000) {
		e := Event{Kind: Read, Flag: InTx, Key: AllKeys, Version: -i, Start: i << 40, End: i<<40 + 1}
		sent = append(sent, e)
		r.Add(e)
	}
	stamp := r.Tell(Event{Kind: Commit, Version: 7})
	sent = append(sent, Event{Kind: Commit, Version: 7, End: stamp})
	if wire.longest > 4096 {
		t.Errorf("a frame has %d bytes, which a pipe may take in parts", wire.longest)
	}
	var got []Event
	for {
		f, err := ReadFrame(&wire)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range f.Events {
			if e.Kind == Commit && e.End > f.Until {
				t.Errorf("a frame that ends at %d tells of %d", f.Until, e.End)
			}
		}
		got = append(got, f.Events...)
	}
	if len(got) != len(sent) {
		t.Fatalf("%d events, want %d", len(got), len(sent))
	}
	for i := range got {
		if got[i] != sent[i] {
			t.Fatalf("event %d is %v, want %v", i, got[i], sent[i])
		}
	}
}

type writes struct {
	bytes.Buffer
	longest int
}

func (w *writes) Write(b []byte) (int, error) {
	w.longest = max(w.longest, len(b))
	return w.Buffer.Write(b)
}
