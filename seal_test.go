package aside_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asidecache/aside"
)

func aesOf(number byte) cipher.Block {
	block, err := aes.NewCipher(bytes.Repeat([]byte{number}, 32))
	if err != nil {
		panic(err)
	}
	return block
}

// A textCodec writes a product's name, whatever it is, and reads whatever it is given.
type textCodec struct{}

func (textCodec) Marshal(v any) ([]byte, error) { return []byte(v.(product).Name), nil }
func (textCodec) Unmarshal(data []byte, v any) error {
	*v.(*product) = product{Name: string(data)}
	return nil
}

func TestWhatIsSealedIsReadByAllWhoHaveTheKeyAndCannotBeReadInRedis(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		for name, codec := range map[string]aside.Option{"JSON": nil, "a codec": aside.WithCodec(textCodec{})} {
			rows := newTable(product{1, "a green lamp", 100})
			writer, _ := steady(r, rows.load, sealed, codec)
			reader, _ := steady(r, rows.load, sealed, codec)
			for _, c := range []*aside.Cache[int, product]{writer, reader} {
				equal(t, name+": the name", mustGet(t, c, 1).Name, "a green lamp")
				equal(t, name+": the name by GetMany", mustGetMany(t, c, 1, 2)[1].Name, "a green lamp")
				if _, err := c.Get(t.Context(), 2); !errors.Is(err, aside.ErrNotFound) {
					t.Errorf("%s: the error of an absent row is %v", name, err)
				}
			}
			equal(t, name+": the loads", rows.loads.Load(), 2)
			equal(t, name+": the hits of the reader", reader.Stats().Hits+reader.Stats().AbsentHits, 4)
			equal(t, name+": Unusable", writer.Stats().Unusable+reader.Stats().Unusable, 0)
			if doc := r.get("test:1"); strings.Contains(doc, "lamp") || !strings.Contains(doc, `,"sealed":`) {
				t.Errorf("%s: the document is %q", name, doc)
			}
			if doc := r.get("test:2"); !strings.Contains(doc, `,"absent":true,"sealed":`) {
				t.Errorf("%s: the document of an absence is %q", name, doc)
			}
			r.flush()
		}
	})
}

// sealedDoc is the document that a Cache stores of a product, or of its absence.
func sealedDoc(t *testing.T, r *rig, cache string, id int, rows *table, opts ...aside.Option) string {
	t.Helper()
	c, err := aside.New(r.dial(t), cache, rows.load, append([]aside.Option{patient, sealed}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = c.Get(t.Context(), id)
	name := fmt.Sprintf("%s:%d", cache, id)
	defer r.del(name)
	return r.get(name)
}

// misused are documents that someone may put under test:1 who has no key, and has seen what was stored elsewhere.
func misused(t *testing.T, r *rig) map[string]string {
	row := newTable(product{1, "old", 1}, product{2, "other", 2})
	good := sealedDoc(t, r, "test", 1, row)
	absence := sealedDoc(t, r, "test", 1, newTable())
	header, bytes, _ := strings.Cut(good, "\n")
	absent, noRow, _ := strings.Cut(absence, "\n")
	relabelled := func(doc, from, to string) string { return strings.Replace(doc, from, to, 1) }
	docs := map[string]string{
		"of another key":                good[:0] + sealedDoc(t, r, "test", 2, row),
		"of another cache":              sealedDoc(t, r, "tes", 1, row),
		"of another scope of names":     sealedDoc(t, r, "test:1", 1, row),
		"of another version":            sealedDoc(t, r, "test", 1, row, aside.WithVersion(7)),
		"of another shape":              sealedDoc(t, r, "test", 1, row, aside.WithShape("other")),
		"of another key of the AEAD":    sealedDoc(t, r, "test", 1, row, aside.WithSeal(gcm(2))),
		"an absence of another key":     sealedDoc(t, r, "test", 3, row),
		"a value that is no absence":    relabelled(header, `,"sealed":`, `,"absent":true,"sealed":`) + "\n" + bytes,
		"an absence that is no value":   relabelled(absent, `,"absent":true,`, `,`) + "\n" + noRow,
		"an absence without a seal":     relabelled(absent, `,"sealed":36`, ``),
		"sealed bytes as the codec's":   relabelled(header, `"sealed"`, `"size"`) + "\n" + bytes,
		"plain, of a cache without one": filledWith(t, r, product{1, "old", 1}),
		"by hand":                       byHand(time.Hour, `{"ID":1,"Name":"made up","Price":1}`),
		"without bytes":                 strings.TrimSuffix(header[:strings.Index(header, `"sealed":`)], ",") + `,"sealed":0}` + "\n",
		"no more than a nonce":          header[:strings.Index(header, `"sealed":`)] + `"sealed":12}` + "\n" + bytes[:12],
		"cut short":                     good[:len(good)-1],
		"longer":                        good + "x",
		"two nonces":                    header[:strings.Index(header, `"sealed":`)] + fmt.Sprintf(`"sealed":%d}`, len(bytes)+12) + "\n" + bytes[:12] + bytes,
	}
	for other, version := range map[string]int{"relabelled, of another version": 7} {
		doc := sealedDoc(t, r, "test", 1, row, aside.WithVersion(version))
		docs[other] = relabelled(doc, versionField(doc), versionField(good))
	}
	for i := range len(bytes) {
		flipped := []byte(bytes)
		flipped[i] ^= 1 << (i % 8)
		docs[fmt.Sprintf("with byte %d flipped", i)] = header + "\n" + string(flipped)
	}
	return docs
}

// versionField is the "v" of a document.
func versionField(doc string) string {
	_, rest, _ := strings.Cut(doc, `"v":`)
	version, _, _ := strings.Cut(rest, ",")
	return `"v":` + version
}

func TestASealedDocumentThatWasMovedForgedOrFlippedIsAMissThatRepairsItself(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		for name, doc := range misused(t, r) {
			rows := newTable(product{1, "lamp", 100})
			c, _ := steady(r, rows.load, sealed)
			for _, read := range []func() product{
				func() product { return mustGet(t, c, 1) },
				func() product { return mustGetMany(t, c, 1)[1] },
			} {
				r.put("test:1", doc)
				loads, unusable := rows.loads.Load(), c.Stats().Unusable
				for range 2 {
					equal(t, name+": the row", read(), product{1, "lamp", 100})
				}
				equal(t, name+": the loads", rows.loads.Load()-loads, 1)
				equal(t, name+": Unusable", c.Stats().Unusable-unusable, 1)
			}
		}
	})
}

func TestASealedDocumentIsUnusableToACacheThatDoesNotSeal(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		for _, test := range []struct {
			name string
			rows *table
			want string
		}{
			{"a value", newTable(product{1, "old", 1}), "{0 lamp 0}"},
			{"an absence", newTable(), "{0 lamp 0}"},
		} {
			doc := sealedDoc(t, r, "test", 1, test.rows, aside.WithCodec(textCodec{}))
			rows := newTable(product{1, "lamp", 100})
			plain, _ := steady(r, rows.load, aside.WithCodec(textCodec{}))
			r.put("test:1", doc)
			mustGet(t, plain, 1)
			equal(t, test.name+": the row", fmt.Sprint(mustGet(t, plain, 1)), test.want)
			equal(t, test.name+": the loads", rows.loads.Load(), 1)
			equal(t, test.name+": Unusable", plain.Stats().Unusable, 1)
			r.del("test:1")
		}
	})
}

func TestWhatCannotBeOpenedIsLoggedWithItsNameAndWhy(t *testing.T) {
	for _, test := range []struct {
		name   string
		writer aside.Option
		reader aside.Option
		says   string
	}{
		{"sealed with another key", aside.WithSeal(gcm(2)), sealed, "message authentication failed"},
		{"not sealed", nil, sealed, "it is not sealed, and this cache has WithSeal"},
		{"sealed", sealed, nil, "it is sealed, and this cache has no WithSeal"},
	} {
		onMiniredis(t, func(t *testing.T, r *rig) {
			var logged bytes.Buffer
			rows := newTable(product{1, "a green lamp", 100})
			writer, _ := process(r, rows.load, test.writer)
			reader, _ := process(r, rows.load, test.reader, aside.WithLogger(slog.New(slog.NewTextHandler(&logged, nil))))
			mustGet(t, writer, 1)
			mustGet(t, reader, 1)
			for _, says := range []string{"a document cannot be opened, so it is loaded", "cache=test", "name=test:1", test.says} {
				if !strings.Contains(logged.String(), says) {
					t.Errorf("%s: the log %q does not say %q", test.name, logged.String(), says)
				}
			}
			if strings.Count(logged.String(), "\n") != 1 || strings.Contains(logged.String(), "green") {
				t.Errorf("%s: the log is %q", test.name, logged.String())
			}
		})
	}
}

// The older key opens what it has sealed, and what is stored from now on is sealed with the newer one.
func TestAKeyIsRotated(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100}, product{2, "desk", 200})
		older, _ := steady(r, rows.load, aside.WithSeal(gcm(1)))
		both, _ := steady(r, rows.load, aside.WithSeal(gcm(2), gcm(1)))
		newer, _ := steady(r, rows.load, aside.WithSeal(gcm(2)))
		mustGet(t, older, 1)
		mustGet(t, both, 1)
		equal(t, "the loads of what the older key has sealed", rows.loads.Load(), 1)
		mustGet(t, both, 2)
		mustGet(t, newer, 2)
		equal(t, "the loads of what the newer key has sealed", rows.loads.Load(), 2)
		mustGet(t, older, 2)
		equal(t, "Unusable, to the older key alone", older.Stats().Unusable, 1)
	})
}

// What was stored is stored again once it has expired, under a TTL that never ends. It is served until its end, and not after
// that, whatever its header says.
func TestWhatIsBroughtBackEndsWithItsSeal(t *testing.T) {
	always := []aside.Option{sealed, aside.WithJitter(0), aside.WithEarlyRefresh(0), aside.WithTTL(time.Minute), aside.WithAbsentTTL(time.Minute)}
	for _, test := range []struct {
		name string
		rows *table
		opts []aside.Option
		ends time.Duration
	}{
		{"a value", newTable(product{1, "lamp", 100}), nil, time.Minute},
		{"a value with WithStale", newTable(product{1, "lamp", 100}), []aside.Option{aside.WithStale(time.Hour)}, 61 * time.Minute},
		{"an absence", newTable(), []aside.Option{aside.WithStale(time.Hour)}, time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				opts := append(always, test.opts...)
				doc := sealedDoc(t, r, "test", 1, test.rows, opts...)
				start := strings.Index(doc, `"fresh":`)
				freshForever := doc[:start] + `"fresh":9999999999999` + doc[start+len(`"fresh":9999999999999`):]
				newer := newTable(product{1, "lamp", 90})
				c, _ := process(r, newer.load, opts...)
				began := time.Now()
				for _, at := range []time.Duration{0, test.ends / 2, test.ends - time.Millisecond, test.ends, test.ends + time.Second, 24 * time.Hour} {
					time.Sleep(at - time.Since(began))
					r.put("test:1", freshForever)
					v, err := c.Get(t.Context(), 1)
					many := mustGetMany(t, c, 1)
					switch isNew := err == nil && v.Price == 90 && many[1].Price == 90; {
					case isNew && at < test.ends:
						t.Errorf("after %v it is not served", at)
					case !isNew && at >= test.ends:
						t.Errorf("after %v it is served: %v %v %v", at, v, err, many)
					}
				}
			})
		})
	}
}

// That is a sign of clocks that differ, or of somebody who brings entries back. In the moment in which an entry expires it is
// neither.
func TestASealedDocumentThatHasLongEndedIsLogged(t *testing.T) {
	for ago, want := range map[time.Duration]string{
		time.Millisecond: "",
		time.Minute:      "WARN aside: a sealed document has ended by the clock of this process, so it is loaded",
	} {
		onMiniredis(t, func(t *testing.T, r *rig) {
			doc := sealedDoc(t, r, "test", 1, newTable(product{1, "lamp", 100}), aside.WithTTL(time.Minute), aside.WithJitter(0))
			time.Sleep(time.Minute + ago)
			r.put("test:1", doc)
			logged := new(log)
			c, _ := process(r, newTable(product{1, "lamp", 90}).load, sealed, aside.WithLogger(slog.New(logged)))
			equal(t, "the price", mustGet(t, c, 1).Price, 90)
			equal(t, "the log", strings.Join(logged.lines, ","), want)
		})
	}
}

// A near copy is made of an opened value, and of what is brought back no longer than until its end.
func TestNearCopiesOfWhatIsSealedEndWithIt(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		opts := []aside.Option{sealed, aside.WithNear(100, time.Hour), aside.WithTTL(time.Minute), aside.WithJitter(0), aside.WithEarlyRefresh(0)}
		doc := sealedDoc(t, r, "test", 1, newTable(product{1, "lamp", 100}), opts...)
		start := strings.Index(doc, `"fresh":`)
		r.put("test:1", doc[:start]+`"fresh":9999999999999`+doc[start+len(`"fresh":9999999999999`):])
		rows := newTable(product{1, "lamp", 90})
		c, _ := process(r, rows.load, opts...)
		began := time.Now()
		equal(t, "the price", nearRead(t, r, c).Price, 100)
		time.Sleep(time.Minute - time.Since(began))
		equal(t, "the price after its end", mustGet(t, c, 1).Price, 90)
	})
}

// A fill whose answer is late makes a copy that is served no longer than the document.
func TestANearCopyOfALateFillEndsWithItsDocument(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, tap := process(r, rows.load, sealed, patient, aside.WithNear(100, time.Hour), aside.WithTTL(time.Minute), aside.WithJitter(0),
			aside.WithEarlyRefresh(0))
		nearRead(t, r, c) // the lease of near copies has begun
		mustInvalidate(t, c, 1)
		fill := tap.after("fill")
		late := getting(c, 1)
		fill.wait()
		filled := time.Now()
		for time.Since(filled) < 30*time.Second { // which keeps that lease
			time.Sleep(200 * time.Millisecond)
			mustGet(t, c, 1)
		}
		fill.release()
		price(t, "what the late one gets", late, 100)
		rows.setPrice(1, 90)
		for time.Since(filled) < time.Minute {
			equal(t, "the price before the end", mustGet(t, c, 1).Price, 100)
			time.Sleep(200 * time.Millisecond)
		}
		equal(t, "the price after it", mustGet(t, c, 1).Price, 90)
	})
}

// A type that cannot be copied is kept near as its encoding.
func TestNearCopiesOfSealedValuesThatCannotBeCopiedAreDecoded(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		load := func(context.Context, int) (any, error) { return map[string]any{"name": "lamp"}, nil }
		filler, _ := process(r, aside.Loader[int, any](load), sealed, nearby)
		mustGet(t, filler, 1)
		c, _ := process(r, aside.Loader[int, any](load), sealed, nearby)
		r.until(func() bool {
			equal(t, "the value", fmt.Sprint(mustGet(t, c, 1)), "map[name:lamp]")
			return c.Stats().NearHits > 3
		})
		equal(t, "the loads", c.Stats().Loads, 0)
	})
}

// Joiners and waiters get what was loaded or read for another, and it is opened once.
func TestCallersShareWhatIsOpened(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable(product{1, "lamp", 100})
		holder, _ := steady(r, rows.load, sealed)
		waiter, _ := steady(r, rows.load, sealed)
		first := getting(holder, 1)
		<-rows.read
		var others []<-chan result
		for range 5 {
			others = append(others, getting(holder, 1), getting(waiter, 1))
		}
		r.until(func() bool {
			return waiter.Stats().Waits > 0 && holder.Stats().Misses == 6 && waiter.Stats().Misses == 5
		})
		rows.go_ <- struct{}{}
		price(t, "what the owner gets", first, 100)
		for _, other := range others {
			price(t, "what another gets", other, 100)
		}
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { equal(t, "the price of a hit", mustGet(t, waiter, 1).Price, 100) })
		}
		wg.Wait()
		equal(t, "Unusable", waiter.Stats().Unusable+holder.Stats().Unusable, 0)
	})
}

func TestASealedValueIsServedStaleWhileItIsRefreshed(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, tap := steady(r, rows.load, append(stale, sealed)...)
		mustGet(t, c, 1)
		rows.setPrice(1, 90)
		time.Sleep(2 * time.Minute)
		tap.reset()
		equal(t, "the price at first", mustGet(t, c, 1).Price, 100)
		synctest.Wait()
		equal(t, "the price after the refresh", mustGet(t, c, 1).Price, 90)
		verbs, _ := tap.count()
		equal(t, "the commands", fmt.Sprint(verbs), "[get claim fill get]")
	})
}

// A nonce is as long as the AEAD wants, and never the same.
func TestEachFillHasANonceOfItsOwn(t *testing.T) {
	long, err := cipher.NewGCMWithNonceSize(aesOf(3), 24)
	if err != nil {
		t.Fatal(err)
	}
	own, err := cipher.NewGCMWithRandomNonce(aesOf(4))
	if err != nil {
		t.Fatal(err)
	}
	for name, aead := range map[string]cipher.AEAD{"12 bytes": gcm(1), "24 bytes": long, "its own": own} {
		onMiniredis(t, func(t *testing.T, r *rig) {
			rows := newTable(product{1, "lamp", 100})
			c, _ := process(r, rows.load, aside.WithSeal(aead))
			seen := make(map[string]bool)
			for range 100 {
				equal(t, name+": the price", mustGet(t, c, 1).Price, 100)
				equal(t, name+": the price of a hit", mustGet(t, c, 1).Price, 100)
				_, bytes, _ := strings.Cut(r.get("test:1"), "\n")
				seen[bytes[:12]] = true
				mustInvalidate(t, c, 1)
			}
			equal(t, name+": the nonces", len(seen), 100)
			equal(t, name+": the loads", rows.loads.Load(), 100)
		})
	}
}

// A panickingAEAD seals, and opens, until it is told to panic.
type panickingAEAD struct {
	cipher.AEAD
	seals, opens bool
}

func (a *panickingAEAD) Seal(dst, nonce, plaintext, bound []byte) []byte {
	if a.seals {
		panic("no seal")
	}
	return a.AEAD.Seal(dst, nonce, plaintext, bound)
}

func (a *panickingAEAD) Open(dst, nonce, sealed, bound []byte) ([]byte, error) {
	if a.opens {
		panic("no opening")
	}
	return a.AEAD.Open(dst, nonce, sealed, bound)
}

func TestAnAEADThatPanicsHasItsEntryLoadedAndNotStored(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		logged := new(log)
		aead := &panickingAEAD{AEAD: gcm(1), seals: true}
		rows := newTable(product{1, "lamp", 100})
		c, _ := process(r, rows.load, aside.WithSeal(aead), aside.WithLogger(slog.New(logged)))
		equal(t, "the price", mustGet(t, c, 1).Price, 100)
		if _, err := c.Get(t.Context(), 2); !errors.Is(err, aside.ErrNotFound) {
			t.Errorf("the error is %v", err)
		}
		equal(t, "what is stored", r.get("test:1")+r.get("test:2"), "")
		equal(t, "the log", strings.Join(logged.lines, ","), "ERROR aside: a value cannot be sealed, so it is not cached")
		aead.seals, aead.opens = false, true
		mustGet(t, c, 1)
		equal(t, "the price, when it cannot be opened", mustGet(t, c, 1).Price, 100)
		waiter, _ := process(r, rows.load, aside.WithSeal(aead))
		equal(t, "the price of who finds it by a lease", mustGetMany(t, waiter, 1)[1].Price, 100)
		aead.opens = false
		loads := rows.loads.Load()
		mustGet(t, c, 1)
		equal(t, "the loads once it opens again", rows.loads.Load()-loads, 0)
	})
}

func TestWithSealRefusesNoAEAD(t *testing.T) {
	var none cipher.AEAD
	for says, option := range map[string]aside.Option{
		"WithSeal(): an AEAD is needed":    aside.WithSeal(),
		"WithSeal(nil): an AEAD is needed": aside.WithSeal(gcm(1), none),
	} {
		if err := made(t, option); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("New says: %v\nand should say: %s", err, says)
		}
	}
	if err := made(t, aside.WithSeal((*panickingAEAD)(nil))); err == nil || !strings.Contains(err.Error(), "WithSeal(nil)") {
		t.Errorf("of a nil pointer New says: %v", err)
	}
}

// The one allocation is the memory that a value is opened to.
func TestASealedHitAllocatesOnceMoreThanAPlainOne(t *testing.T) {
	if raceDetector() {
		t.Skip("the race detector allocates too; run go test without -race")
	}
	r := realRig(t)
	allocated := func(opts ...aside.Option) float64 {
		r.flush()
		c := newProductCache(t, r.raw, append(opts, patient)...)
		mustGet(t, c, 1)
		return testing.AllocsPerRun(1000, func() { mustGet(t, c, 1) })
	}
	if plain, sealed := allocated(), allocated(sealed); sealed > plain+1 {
		t.Errorf("a hit allocates %v times sealed, and %v times plain", sealed, plain)
	}
}

// FuzzASealedDocument: whatever Redis holds under a name, a Cache that seals returns the row.
func FuzzASealedDocument(f *testing.F) {
	for _, seed := range []string{"", `{"lease":"a-1-2.3"}`, `{"hold":{}}`, `{"id":"x","fresh":9999999999999,"v":1,"value":{}}`} {
		f.Add([]byte(seed), 0, byte(0))
	}
	f.Add([]byte(nil), 30, byte(1))
	f.Add([]byte(nil), 170, byte(128))
	f.Fuzz(func(t *testing.T, doc []byte, at int, flip byte) {
		onMiniredis(t, func(t *testing.T, r *rig) {
			if len(doc) == 0 { // one that was stored before, a little changed
				doc = []byte(sealedDoc(t, r, "test", 1, newTable(product{1, "old", 1})))
				if i := max(0, at) % len(doc); i < strings.Index(string(doc), "\n") {
					doc[i] = flip
				} else {
					doc[i] ^= max(flip, 1)
				}
			}
			r.put("test:1", string(doc))
			c, _ := process(r, newTable(product{1, "lamp", 100}).load, sealed)
			want := "lamp"
			if mustGet(t, c, 1).Name == "old" { // only its header was changed
				want = "old"
			}
			if _, sealedBytes, _ := strings.Cut(string(doc), "\n"); want == "old" && sealedBytes == "" {
				t.Errorf("of %q it returns a row", doc)
			}
			equal(t, "the name by GetMany", mustGetMany(t, c, 1)[1].Name, want)
		})
	})
}
