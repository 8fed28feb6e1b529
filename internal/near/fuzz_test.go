package near_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/asidecache/aside/internal/near"
)

// A register knows what may be read: a read that begins after a write has returned finds that write, or a later one.
type register struct {
	mu   sync.Mutex
	last map[int]int // version whose write has returned
	next map[int]int // last version that was begun
}

func (g *register) floor(id int) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.last[id]
}

func (g *register) begin(id int) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.next[id]++
	return g.next[id]
}

func (g *register) end(id, version int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last[id] = max(g.last[id], version)
}

// Two processes read and write a few products, in random sequences in virtual time, while one of them hangs now and then, LOG is
// lost or trimmed, messages are lost, and commands come late. Each product has one writer, so that its versions rise.
func FuzzTwoProcessesAgainstARegister(f *testing.F) {
	for seed := range uint64(4) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		onMiniredis(t, func(t *testing.T, r *rig) { play(t, r, rand.New(rand.NewPCG(seed, 21))) })
	})
}

func play(t *testing.T, r *rig, random *rand.Rand) {
	const products = 4
	g := &register{last: map[int]int{}, next: map[int]int{}}
	processes := []*process{r.process(), r.process()}
	for id := range products {
		r.set(id, "0")
	}
	for _, p := range processes {
		p.lease()
	}
	stop := make(chan struct{})
	var all sync.WaitGroup
	near, far := 0, 0
	var mu sync.Mutex
	run := func(seed uint64, step func(random *rand.Rand)) {
		all.Go(func() {
			random := rand.New(rand.NewPCG(seed, 1))
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Duration(random.ExpFloat64() * float64(15*time.Millisecond))):
					step(random)
				}
			}
		})
	}
	for i, p := range processes {
		for range 2 {
			run(random.Uint64(), func(random *rand.Rand) { // a reader
				id := random.IntN(products)
				floor := g.floor(id)
				row, isNear := p.look(id)
				version, err := strconv.Atoi(row)
				if err != nil || version < floor {
					t.Errorf("process %d reads version %q of product %d, from its memory: %v; %d has been written", i, row, id, isNear, floor)
				}
				mu.Lock()
				if isNear {
					near++
				} else {
					far++
				}
				mu.Unlock()
			})
		}
		for id := i; id < products; id += len(processes) {
			run(random.Uint64(), func(random *rand.Rand) { // its writer
				version := g.begin(id)
				if random.IntN(3) > 0 {
					time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
				}
				if err := p.write(id, strconv.Itoa(version)); err == nil {
					g.end(id, version)
				}
			})
		}
	}
	for range 40 {
		time.Sleep(time.Duration(random.IntN(200)) * time.Millisecond)
		p := processes[random.IntN(2)]
		switch random.IntN(9) {
		case 0:
			resume := p.log.Pause()
			time.Sleep(time.Duration(random.IntN(1500)) * time.Millisecond)
			resume()
		case 1:
			r.must(r.raw.Del(context.Background(), logKey).Err())
		case 2:
			r.must(r.raw.ZRemRangeByScore(context.Background(), logKey, "1e14", strconv.Itoa(int(median(r)))).Err())
		case 3, 4: // a script is slow
			when := []string{"before ", "after "}[random.IntN(2)] + []string{"news", "note", "low"}[random.IntN(3)]
			h := p.tap.hold(when)
			time.Sleep(time.Duration(random.IntN(900)) * time.Millisecond)
			h.release()
		case 5: // a message of another LOG, or from long ago
			r.must(r.raw.Publish(context.Background(), logKey, fmt.Sprint(time.Now().UnixMicro(), " 5 x y =product:", random.IntN(products))).Err())
		case 6: // a record without a message
			r.note(name(random.IntN(products)))
		case 7:
			p.log.Drop(about(random.IntN(products)))
		case 8:
			p.tap.again([]string{"news", "note", "low"}[random.IntN(3)])
		}
	}
	close(stop)
	all.Wait()
	if near < 50 || far < 50 {
		t.Errorf("%d reads from memory, %d from Redis", near, far)
	}
}

// median is the id of the record in the middle: the newest is never trimmed.
func median(r *rig) float64 {
	all := r.records()
	if len(all) < 2 {
		return 0
	}
	return all[len(all)/2-1].Score
}

func FuzzWordsOfRecords(f *testing.F) {
	f.Add("product:1", "big and small", "a+b%20")
	f.Fuzz(func(t *testing.T, name, tag, prefix string) {
		a := near.About{Names: []string{name, name + " "}, Tags: []string{tag}, Prefixes: []string{prefix}}
		if got := near.Words(near.Text(a)); !slices.Equal(got, []string{"=" + name, "=" + name + " ", "#" + tag, "*" + prefix}) {
			t.Errorf("%q is read as %q", near.Text(a), got)
		}
	})
}
