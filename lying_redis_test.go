package aside_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/internal/pipe"
)

// A liar stands between a client and a Redis that keeps its promises. It answers each command as its script says: with the truth,
// with one of its lies, or not at all.
type liar struct {
	mini *miniredis.Miniredis

	mu     sync.Mutex // guards the rest
	script []byte     // for each command the number of a lie; 0 is the truth, and so is what comes after it
	old    [][]byte   // replies that were true some time
}

// A lie makes the reply to a command of what the truth is, or of what it was some time. What it returns is sent as it is. It is nil
// where there is to be no reply.
type lie struct {
	name string
	tell func(l *liar, args []string, truth []byte) []byte
}

func always(reply string) func(*liar, []string, []byte) []byte {
	return func(*liar, []string, []byte) []byte { return []byte(reply) }
}

func bulk(text string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(text), text) }

const farFuture, longAgo = "253402300799.000000", "0000000000.000000"

var lies = func() (all []lie) {
	add := func(name string, tell func(*liar, []string, []byte) []byte) { all = append(all, lie{name, tell}) }
	add("the truth", func(_ *liar, _ []string, truth []byte) []byte { return truth })
	for _, reply := range []string{ // of other types
		":1\r\n", ":0\r\n", ":-1\r\n", ":9223372036854775807\r\n", "$-1\r\n", "*-1\r\n", "_\r\n", "+OK\r\n", "+\r\n", "#t\r\n", ",1.5\r\n", ",nan\r\n",
		"(123456789012345678901234567890\r\n", "=7\r\ntxt:abc\r\n", "~2\r\n:1\r\n:2\r\n", "%1\r\n+a\r\n:1\r\n", "%1\r\n*1\r\n:1\r\n:1\r\n",
		">2\r\n+message\r\n+x\r\n:1\r\n", "|1\r\n+a\r\n+b\r\n:1\r\n", "*0\r\n", "*1\r\n$-1\r\n", "*2\r\n:1\r\n:1\r\n", "*2\r\n:1\r\n$0\r\n\r\n",
		"*4\r\n:1\r\n$1\r\n9\r\n$1\r\nx\r\n:1000000000\r\n", "*5\r\n:0\r\n$20\r\n99999999999999999999\r\n$1\r\nx\r\n:-5\r\n$1\r\n#\r\n",
		"*3\r\n$16\r\n9999999999999999\r\n:1\r\n:9\r\n", "\r\n", "x\r\n", "junk", "$3\r\nabcdef\r\n",
	} {
		add(fmt.Sprintf("%q", reply), always(reply))
	}
	for _, reply := range []string{"ERR no", "NOSCRIPT no", "MOVED 1 127.0.0.1:1", "ASK 1 127.0.0.1:1", "CROSSSLOT no", "READONLY no", "LOADING no",
		"WRONGTYPE no", "NOPERM no", "OOM no", "CLUSTERDOWN no", "TRYAGAIN no", "NOAUTH no", "MASTERDOWN no", "max number of clients reached", ""} {
		add("the error "+reply, always("-"+reply+"\r\n"))
	}
	for _, reply := range []string{ // lengths
		"$9223372036854775807\r\n", "$-9223372036854775808\r\n", "$99999999999999999999\r\n", "*9223372036854775807\r\n", "*-2\r\n",
		"%4611686018427387904\r\n", "$1048576\r\nshort\r\n", "*1000\r\n:1\r\n", "$-2\r\n", "$x\r\n",
	} {
		add("the length "+strings.TrimSpace(reply), always(reply))
	}
	add("a nesting of 100,000", always(strings.Repeat("*1\r\n", 100_000)+":1\r\n"))
	add("values nested 100,000 times", always(bulk(`{"id":"x","fresh":9999999999999,"v":1,"value":`+strings.Repeat("[", 100_000))))
	add("a line without an end", always(strings.Repeat("+", 100_000)))
	add("silence", func(*liar, []string, []byte) []byte { return nil })
	add("half of the truth", func(_ *liar, _ []string, truth []byte) []byte { return truth[:len(truth)/2] })
	add("the truth, and the same once more", func(_ *liar, _ []string, truth []byte) []byte { return append(bytes.Clone(truth), truth...) })
	for _, ago := range []int{1, 2, 3, 5, 8, 13} {
		add(fmt.Sprintf("what was true %d replies ago", ago), func(l *liar, _ []string, truth []byte) []byte {
			if len(l.old) < ago {
				return truth
			}
			return l.old[len(l.old)-ago]
		})
	}
	version := strconv.FormatInt(productVersion, 10)
	for _, doc := range []string{ // of others
		`{"lease":"x-1-` + farFuture + `","life":2000}`, `{"lease":"x-1-` + longAgo + `","life":2000,"waited":true}`, `{"lease":"x-1-y","returned":true}`,
		`{"lease":"x"}`, `{"hold":{"x":{"id":"x","expiry":9999999999999,"life":9999999999999}}}`, `{"hold":{"lag":{`, `{"hold":`, "", "{}",
		`{"id":"x-1-` + farFuture + `","fresh":9999999999999,"claim":9999999999999,"backoff":99999,"took":9223372036854775807,"v":` + version + `,"absent":true}`,
		`{"id":"x","fresh":9999999999999,"v":` + version + `,"value":{"ID":1,"Name":"made up","Price":1}}`,
		`{"id":"x","fresh":-9999999999999,"v":` + version + `,"value":{"ID":1,"Name":"made up","Price":1}}`,
	} {
		add("the document "+doc, always(bulk(doc)))
		add("an array of the document "+doc, always("*1\r\n"+bulk(doc)))
	}
	add("a lease of the caller's, of the year 9999", leaseOfTheCaller(farFuture))
	add("a lease of the caller's, of 1970", leaseOfTheCaller(longAgo))
	add("a lease of the caller's, of no time", leaseOfTheCaller("never"))
	add("what lies under another key", func(l *liar, _ []string, truth []byte) []byte {
		doc, err := l.mini.Get("test:2")
		if err != nil {
			return truth
		}
		return []byte(bulk(doc))
	})
	add("the truth with a bit flipped", func(_ *liar, args []string, truth []byte) []byte {
		flipped := bytes.Clone(truth)
		if at := bytes.IndexByte(flipped, '\n') + 1 + len(args[len(args)-1])*7; len(flipped) > 40 {
			flipped[at%(len(flipped)-2)] ^= 4
		}
		return flipped
	})
	add("the truth with another time", func(_ *liar, _ []string, truth []byte) []byte {
		return bytes.Replace(truth, []byte(`"fresh": 9`), []byte(`"fresh":99`), 1)
	})
	return all
}()

// leaseOfTheCaller answers a script as if it had given the caller the lease.
func leaseOfTheCaller(stamp string) func(*liar, []string, []byte) []byte {
	return func(_ *liar, args []string, truth []byte) []byte {
		if len(args) < 5 || !strings.HasPrefix(strings.ToLower(args[0]), "eval") {
			return truth
		}
		return []byte(bulk(`{"lease":"` + args[4] + `-` + stamp + `","life":2000}`))
	}
}

// client is a client of the liar.
func (l *liar) client(t *testing.T) redis.UniversalClient {
	return closed(t, redis.NewClient(&redis.Options{
		Addr: "127.0.0.1:1", DisableIdentity: true, PoolSize: 4096,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		Dialer: func(context.Context, string, string) (net.Conn, error) {
			honest, err := l.mini.Dial()
			if err != nil {
				return nil, err
			}
			near, far := net.Pipe()
			go l.serve(pipe.Buffered(far), pipe.Buffered(honest))
			return pipe.Buffered(near), nil
		},
	}))
}

// serve answers the commands of one connection.
func (l *liar) serve(client, honest net.Conn) {
	defer client.Close()
	defer honest.Close()
	commands, replies := bufio.NewReader(client), bufio.NewReader(honest)
	for {
		command, args, err := readRaw(commands)
		if err != nil {
			return
		}
		if _, err := honest.Write(command); err != nil {
			return
		}
		truth, _, err := readRaw(replies)
		if err != nil {
			return
		}
		if _, err := client.Write(l.answer(args, truth)); err != nil {
			return
		}
		if strings.EqualFold(args[0], "subscribe") {
			go l.push(client, replies)
			_, _ = io.Copy(honest, commands)
			return
		}
	}
}

// push answers in the place of what Redis sends by itself.
func (l *liar) push(client net.Conn, messages *bufio.Reader) {
	for {
		truth, _, err := readRaw(messages)
		if err != nil {
			return
		}
		if _, err := client.Write(l.answer([]string{"message"}, truth)); err != nil {
			return
		}
	}
}

func (l *liar) answer(args []string, truth []byte) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.old = append(l.old, truth); len(l.old) > 20 {
		l.old = l.old[1:]
	}
	if len(l.script) == 0 || strings.EqualFold(args[0], "hello") {
		return truth
	}
	next := l.script[0]
	l.script = l.script[1:]
	return lies[int(next)%len(lies)].tell(l, args, truth)
}

// readRaw reads one command or reply, as it is. The texts are those of a command.
func readRaw(r *bufio.Reader) (raw []byte, texts []string, err error) {
	line, err := r.ReadBytes('\n')
	if err != nil {
		return nil, nil, err
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(line[1:])))
	switch raw = line; line[0] {
	case '$', '=':
		if n < 0 {
			return raw, nil, nil
		}
		text := make([]byte, n+2)
		if _, err := io.ReadFull(r, text); err != nil {
			return nil, nil, err
		}
		return append(raw, text...), []string{string(text[:n])}, nil
	case '*', '%', '~', '>':
		if line[0] == '%' {
			n *= 2
		}
		for range n {
			part, text, err := readRaw(r)
			if err != nil {
				return nil, nil, err
			}
			raw, texts = append(raw, part...), append(texts, text...)
		}
	}
	return raw, texts, nil
}

// A row is made of its id and of how often it was written, so any row shows whether this key had it.
func rowOf(id, version int) product { return product{id, fmt.Sprintf("row %d", id), version} }

const longestLoad = time.Second // WithLoadTimeout

// deceived has a cache that seals work with a liar. It may be slow, and serve a row that this key had, and nothing else.
func deceived(t *testing.T, script []byte, opts ...aside.Option) {
	l := &liar{mini: miniredis.NewMiniRedis()}
	l.mini.ClockTTL(true)
	rows := newTable(rowOf(1, 0), rowOf(2, 0))
	opts = append([]aside.Option{
		sealed, impatient, aside.WithLoadTimeout(longestLoad), aside.WithLogger(logger(t)), aside.WithHold(time.Second),
		aside.WithBatch(rows.loadMany), aside.WithTags(func(int, product) []string { return []string{"all"} }),
	}, opts...)
	c, err := aside.New(l.client(t), "test", rows.load, opts...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, version := t.Context(), 0
	soon := func(what string, most time.Duration, do func()) {
		t.Helper()
		start := time.Now()
		if do(); time.Since(start) > most {
			t.Errorf("%s took %v", what, time.Since(start))
		}
	}
	reads := func() {
		for id := 1; id <= 3; id++ {
			soon("Get", 3*longestLoad, func() {
				v, err := c.Get(ctx, id)
				checkRow(t, id, version, v, err)
			})
		}
		soon("GetMany", 3*longestLoad, func() {
			found, err := c.GetMany(ctx, []int{1, 2, 3})
			if err != nil || len(found) != 2 {
				t.Errorf("GetMany returned %v, %v", found, err)
			}
			for id, v := range found {
				checkRow(t, id, version, v, nil)
			}
		})
	}
	l.lie(script)
	for range 3 {
		reads()
		version++
		rows.setPrice(1, version)
		rows.setPrice(2, version)
		soon("Invalidate", 3*time.Second, func() { _ = c.Invalidate(ctx, 1) })
		soon("InTx", 5*time.Second, func() {
			_ = aside.InTx(ctx, func(ctx context.Context) error { return c.Invalidate(ctx, 2) })
		})
		reads()
		soon("InvalidateTags", 3*time.Second, func() { _ = c.InvalidateTags(ctx, "all") })
		time.Sleep(2 * time.Second)
	}
	soon("InvalidateAll", 5*time.Second, func() { _ = c.InvalidateAll(ctx) })
	soon("Close", 10*time.Second, func() { c.Close() })
	l.mini.Close()
}

func (l *liar) lie(script []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.script = script
}

// checkRow checks that this key has had this row.
func checkRow(t *testing.T, id, version int, v product, err error) {
	t.Helper()
	switch {
	case id == 3 && errors.Is(err, aside.ErrNotFound):
	case id == 3, err != nil, v.ID != id, v.Name != fmt.Sprintf("row %d", id), v.Price < 0, v.Price > version:
		t.Errorf("of %d it returns %+v, %v, and the row has been written %d times", id, v, err, version)
	}
}

// Each lie is told all the time, and in the place of some of the first replies.
func TestARedisThatLiesMakesACacheThatSealsSlowAndNeverWrong(t *testing.T) {
	near := aside.WithNear(10, time.Minute)
	for n, lie := range lies {
		t.Run(lie.name, func(t *testing.T) {
			always := bytes.Repeat([]byte{byte(n)}, 1000)
			synctest.Test(t, func(t *testing.T) { deceived(t, always) })
			synctest.Test(t, func(t *testing.T) { deceived(t, always, near) })
			for at := n % 4; at < 12; at += 4 {
				once := append(make([]byte, at), byte(n))
				synctest.Test(t, func(t *testing.T) { deceived(t, once) })
			}
		})
	}
}

// What Redis has said is not kept: a process that was lied to for long holds no more than before.
func TestNothingIsKeptOfLies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &liar{mini: miniredis.NewMiniRedis()}
		defer l.mini.Close()
		c, err := aside.New(l.client(t), "test", newTable(rowOf(1, 0)).load, sealed, impatient, aside.WithNear(10, time.Minute),
			aside.WithLoadTimeout(longestLoad), aside.WithLogger(logger(t)))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		lieFor := func(rounds int) {
			for range rounds {
				all := make([]byte, len(lies))
				for n := range lies {
					all[n] = byte(n)
				}
				l.lie(all)
				for range lies {
					v, err := c.Get(t.Context(), 1)
					checkRow(t, 1, 0, v, err)
					time.Sleep(time.Second)
				}
			}
		}
		lieFor(2)
		before := inUse()
		lieFor(20)
		if grown := inUse() - before; grown > 1<<20 {
			t.Errorf("the process has grown by %d bytes", grown)
		}
	})
}

// FuzzARedisThatLies: the same of any script.
func FuzzARedisThatLies(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18}, false)
	f.Add([]byte{70, 0, 80, 0, 81, 90, 0, 0, 93, 94}, true)
	f.Fuzz(func(t *testing.T, script []byte, near bool) {
		synctest.Test(t, func(t *testing.T) {
			if near {
				deceived(t, script, aside.WithNear(10, time.Minute))
			} else {
				deceived(t, script)
			}
		})
	})
}
