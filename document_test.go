package aside_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
)

func TestUnreadableDocumentIsAMissThatRepairsItself(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		good := filledWith(t, r, product{1, "{lamp}", 1})
		for name, doc := range map[string]string{
			"empty":                    "",
			"blank":                    " ",
			"foreign text":             "hello",
			"foreign JSON":             `{"ID":1,"Name":"lamp","Price":1}`,
			"a JSON list":              `[1,2]`,
			"binary":                   "\x80\x04\x95\x10",
			"cut in the header":        good[:30],
			"cut in the value":         good[:len(good)-3],
			"cut after a brace":        good[:strings.LastIndex(good, "}\"")+1],
			"something appended":       good + "x",
			"of another version":       filledWith(t, r, product{1, "lamp", 1}, aside.WithVersion(7)),
			"of another type":          byHand(time.Hour, `["lamp"]`),
			"by hand and out of date":  byHand(-time.Hour, `{"ID":1}`),
			"a lease without a TTL":    `{"lease":"a-1-2.3"}`,
			"a lease that is cut":      `{"lease":"a-1-2`,
			"an absence that is cut":   `{"id":"x","fresh":9999999999999,"absent":true`,
			"without an id":            `{"fresh":9999999999999,"value":{"ID":1}}`,
			"an id that is no string":  `{"id":1,"fresh":9999999999999,"value":{"ID":1}}`,
			"neither value nor absent": `{"id":"x","fresh":9999999999999,"absent":false}`,
		} {
			rows := newTable(product{1, "lamp", 100}, product{2, "desk", 100})
			c, _ := steady(r, rows.load)
			r.put("test:1", doc)
			r.put("test:2", doc)
			for range 2 {
				equal(t, name+": the price", mustGet(t, c, 1).Price, 100)
				found := mustGetMany(t, c, 1, 2)
				equal(t, name+": what GetMany finds", fmt.Sprint(found), "map[1:{1 lamp 100} 2:{2 desk 100}]")
			}
			equal(t, name+": the number of loads", rows.loads.Load(), 2)
			if name != "a lease without a TTL" { // a lease is no failure to read
				equal(t, name+": Unusable", c.Stats().Unusable, 2)
			}
		}
	})
}

// Only a document that begins as the library writes it is a lease or a hold. A foreign one that happens to have such a
// field is replaced like any other; nobody holds that lease, so to wait for it would stall every read for WithLoadTimeout.
func TestForeignDocumentWithAFamiliarFieldIsAMissThatRepairsItself(t *testing.T) {
	for _, doc := range []string{`{"flat":7,"lease":"until May"}`, `{ "Lease": "x" }`, `{"flat":7,"hold":"yes"}`} {
		t.Run(doc, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rows := newTable(product{1, "lamp", 100})
				c, _ := steady(r, rows.load)
				r.put("test:1", doc)
				start := time.Now()
				for range 3 {
					equal(t, "the price", mustGet(t, c, 1).Price, 100)
				}
				equal(t, "the number of loads", rows.loads.Load(), 1)
				equal(t, "the time that the reads took", time.Since(start), 0)
			})
		})
	}
}

func TestDocumentWrittenByHandIsRead(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newTable()
		c, _ := steady(r, rows.load)
		value, absence := byHand(time.Hour, `{"ID": 1, "Price": 5}`), fmt.Sprintf(`{"absent": true, "v": %d, "id": "x", "fresh": 9999999999999}`, productVersion)
		compact := fmt.Sprintf(`{"id":"x","fresh":9999999999999,"claim":0,"backoff":0,"took":1,"v":%d,"value":{"Price":6}}`, productVersion)
		r.put("test:1", value)
		r.put("test:2", absence)
		r.put("test:3", compact)
		equal(t, "the price", mustGet(t, c, 1).Price, 5)
		if _, err := c.Get(t.Context(), 2); !errors.Is(err, aside.ErrNotFound) {
			t.Errorf("the error is %v", err)
		}
		equal(t, "the price", mustGet(t, c, 3).Price, 6)
		equal(t, "the number of loads", rows.loads.Load(), 0)
		equal(t, "the documents", r.get("test:1")+r.get("test:2")+r.get("test:3"), value+absence+compact)
	})
}

// A document by hand may have the library's order of fields, but not its widths: a claim written in place would be
// written over something else.
func TestDocumentWrittenByHandIsNotDamagedByARefresh(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable(product{1, "lamp", 100})
		c, tap := steady(r, rows.load, aside.WithStale(time.Hour))
		fresh := time.Now().Add(time.Millisecond).UnixMilli() // so near that XFetch would refresh it
		doc := fmt.Sprintf(`{"id":"x","fresh":%d,"claim":0,"backoff":0,"took":99999,"v":%d,"value":{"Price":5}}`, fresh, productVersion)
		r.put("test:1", doc)
		for range 100 {
			equal(t, "the price", mustGet(t, c, 1).Price, 5)
			synctest.Wait()
			if now := r.get("test:1"); now != doc {
				t.Errorf("the document has become %s", now)
				<-rows.read
				rows.go_ <- struct{}{}
				break
			}
		}
		equal(t, "the number of claims", tap.sent("claim"), 0)
	})
}

// The loader never stores null for a pointer; a null from elsewhere is no value and no absence.
func TestNullForAPointerIsAMiss(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		for i, doc := range []string{
			`{"value": null, "fresh":9999999999999, "id":"by hand"}`,
			`{"id":"x","fresh":9999999999999,"claim":            0,"backoff":    0,"took":1,"v":0,"value":null}`,
		} {
			c, _ := steady(r, func(_ context.Context, id int) (*product, error) { return &product{ID: id}, nil }, aside.WithShape(""))
			r.put(fmt.Sprintf("test:%d", i), doc)
			for range 2 {
				equal(t, "the product", *mustGet(t, c, i), product{ID: i})
			}
			equal(t, "the number of loads", c.Stats().Loads, 1)
		}
	})
}

func TestWhatIsNoStringIsReadThroughAndLeftAlone(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100}, product{2, "desk", 200}, product{3, "sofa", 300})
		c, _ := steady(r, rows.load)
		ctx := t.Context()
		if err := errors.Join(
			r.raw.RPush(ctx, "test:1", "a").Err(),
			r.raw.HSet(ctx, "test:2", "f", "v").Err(),
			r.raw.XAdd(ctx, &redis.XAddArgs{Stream: "test:3", ID: "1-1", Values: []string{"f", "v"}}).Err(),
		); err != nil {
			t.Fatal(err)
		}
		reads := map[string]func(){
			"Get": func() {
				equal(t, "the price", mustGet(t, c, 1).Price+mustGet(t, c, 2).Price+mustGet(t, c, 3).Price, 600)
			},
			"GetMany": func() { equal(t, "the number found", len(mustGetMany(t, c, 1, 2, 3)), 3) },
			"GetMany of one at a time": func() {
				equal(t, "the number found", len(mustGetMany(t, c, 1))+len(mustGetMany(t, c, 2))+len(mustGetMany(t, c, 3)), 3)
			},
			"Invalidate": func() { mustInvalidate(t, c, 1, 2, 3) },
		}
		for name, read := range reads {
			before := c.Stats().WrongTypes
			read()
			equal(t, "the names of "+name+" in WrongTypes", c.Stats().WrongTypes-before, 3)
		}
		types := r.raw.Type(ctx, "test:1").Val() + r.raw.Type(ctx, "test:2").Val() + r.raw.Type(ctx, "test:3").Val()
		equal(t, "what lies under the names", types, "listhashstream")
		equal(t, "RedisErrors", c.Stats().RedisErrors, 0)
		equal(t, "InvalidationErrors", c.Stats().InvalidationErrors, 0)
	})
}

func TestNothingIsCachedUnderAHold(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		for _, hold := range []string{`{"hold":{"t":123}}`, `{"hold":[]}`, `{"hold":null}`, `{"hold":"in a format to come`} {
			rows := newTable(product{1, "lamp", 100})
			c, tap := steady(r, rows.load)
			r.put("test:1", hold)
			start := time.Now()
			for range 2 {
				equal(t, "the price", mustGet(t, c, 1).Price, 100)
				equal(t, "the number found", len(mustGetMany(t, c, 1, 2)), 1)
				mustInvalidate(t, c, 1)
				r.del("test:2")
			}
			if r.virtual {
				equal(t, "the time that reads wait for the end of the hold", time.Since(start), 0)
			}
			equal(t, "the number of loads of key 1 and 2", rows.loads.Load(), 6)
			equal(t, "the number of fills of key 1", tap.sent("fill")-2, 0)
			equal(t, "the document", r.get("test:1"), hold)
			equal(t, "Unusable", c.Stats().Unusable, 0)
			r.del("test:1")
		}
	})
}

// Between the look and the lease, somebody else has repaired the entry: that stays.
func TestUnreadableDocumentIsReplacedOnlyIfItIsStillThoseBytes(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		for name, meanwhile := range map[string]struct {
			doc   string
			price int
			loads int64
			stays bool
		}{
			"a value":                           {byHand(time.Hour, `{"Price":5}`), 5, 0, true},
			"a hold":                            {`{"hold":{"t":1}}`, 100, 1, true},
			"something else that is unreadable": {"also foreign", 100, 1, false},
		} {
			rows := newTable(product{1, "lamp", 100})
			c, tap := steady(r, rows.load)
			r.put("test:1", "foreign")
			lease := tap.before("lease")
			got := getting(c, 1)
			lease.wait()
			r.put("test:1", meanwhile.doc)
			lease.release()
			price(t, "the price with "+name, got, meanwhile.price)
			equal(t, "the number of loads with "+name, rows.loads.Load(), meanwhile.loads)
			equal(t, "whether it stays, with "+name, r.get("test:1") == meanwhile.doc, meanwhile.stays)
		}
	})
}

// The codecs of these tests write what JSON does not.

type gzipCodec struct{}

func (gzipCodec) Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	err := errors.Join(json.NewEncoder(w).Encode(v), w.Close())
	return b.Bytes(), err
}

func (gzipCodec) Unmarshal(data []byte, v any) error {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return err
	}
	return json.NewDecoder(r).Decode(v)
}

func TestCodecThatWritesNoJSON(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		for _, codec := range []aside.Codec{gobCodec{}, gzipCodec{}} {
			rows := newTable(product{1, "l\namp}", 100})
			one, _ := steady(r, rows.load, aside.WithCodec(codec))
			other, _ := steady(r, rows.load, aside.WithCodec(codec))
			mustGet(t, one, 1)
			equal(t, "the product", mustGet(t, other, 1), product{1, "l\namp}", 100})
			equal(t, "the number of loads", rows.loads.Load(), 1)
			doc := r.get("test:1")
			line, rest, _ := strings.Cut(doc, "\n")
			equal(t, "that the first line is JSON", json.Valid([]byte(line)), true)
			for _, broken := range []string{doc[:len(doc)-1], doc + "x", line + "\n", line} {
				r.put("test:1", broken)
				equal(t, "the product", mustGet(t, other, 1), product{1, "l\namp}", 100})
			}
			equal(t, "the number of loads", rows.loads.Load(), 5)
			r.put("test:1", strings.Repeat("x", len(line))+"\n"+rest)
			equal(t, "the product", mustGet(t, other, 1), product{1, "l\namp}", 100})
			r.del("test:1")
		}
	})
}

func TestCodecGetsBackTheBytesThatItWrote(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		for _, want := range []string{"x", "", "\n", "}", "}\n{}\n", `{"a":{"b":{}}}`, " {} \n", "null", "12", "\x00\xff", `,"absent":true}`} {
			c, _ := steady(r, func(context.Context, string) (string, error) { return want, nil }, aside.WithCodec(rawCodec{}))
			for range 3 {
				equal(t, "the value", mustGet(t, c, want), want)
				equal(t, "the value", mustGetMany(t, c, want)[want], want)
			}
			equal(t, fmt.Sprintf("the number of loads of %q", want), c.Stats().Loads, 1)
		}
	})
}

// Not every codec notices that its bytes were cut short.
func TestTruncatedDocumentIsAMissWhateverTheCodec(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		for _, want := range []string{`{"a":{"b":{}}}`, `"}"`, "}}}", "12"} {
			c, _ := steady(r, func(context.Context, int) (string, error) { return want, nil }, aside.WithCodec(rawCodec{}))
			mustGet(t, c, 1)
			doc := r.get("test:1")
			for n := range len(doc) {
				r.put("test:1", doc[:n])
				equal(t, fmt.Sprintf("the value of %q", doc[:n]), mustGet(t, c, 1), want)
			}
			r.del("test:1")
		}
	})
}

func TestValueThatCannotBeEncodedReachesItsOwnerAndIsNotStored(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100}, product{2, "desk", 200})
		c, tap := steady(r, rows.load, aside.WithCodec(brokenCodec{}))
		equal(t, "the price", mustGet(t, c, 1).Price, 100)
		equal(t, "the number found", len(mustGetMany(t, c, 1, 2)), 2)
		equal(t, "the documents that are left", r.get("test:1")+r.get("test:2"), "")
		equal(t, "whether both calls gave their leases back", tap.sent("release") >= 2, true)
	})
}

type writeOnlyCodec struct{ gobCodec }

func (writeOnlyCodec) Unmarshal([]byte, any) error { return errors.New("write only") }

func TestCodecThatCannotDecodeMakesEveryReadALoad(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		one, _ := steady(r, rows.load, aside.WithCodec(writeOnlyCodec{}))
		other, _ := steady(r, rows.load, aside.WithCodec(writeOnlyCodec{}))
		for range 2 {
			equal(t, "the price", mustGet(t, one, 1).Price, 100)
			equal(t, "the price", mustGetMany(t, other, 1)[1].Price, 100)
		}
		equal(t, "the number of loads", rows.loads.Load(), 4)
		equal(t, "Unusable", one.Stats().Unusable+other.Stats().Unusable, 3)
	})
}

type catalog struct {
	First *product
	Names []string
	By    map[string]*product
}

func (v catalog) spoil() {
	v.First.Price, v.Names[0], v.By["a"].Price = -1, "spoilt", -1
	delete(v.By, "b")
}

func (v catalog) String() string {
	return fmt.Sprint(*v.First, v.Names, v.By["a"], v.By["b"])
}

func newCatalog() *catalog {
	return &catalog{&product{ID: 1}, []string{"x"}, map[string]*product{"a": {ID: 2}, "b": {ID: 3}}}
}

func TestEveryCallerMayModifyItsValue(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		start := make(chan struct{})
		c, _ := steady(r, func(context.Context, int) (*catalog, error) { <-start; return newCatalog(), nil })
		other, _ := steady(r, func(context.Context, int) (*catalog, error) { return nil, io.EOF })
		got := make(chan *catalog)
		go func() { got <- mustGet(t, c, 1) }()
		synctest.Wait() // it has the lease
		for range 4 {
			go func() { got <- mustGet(t, c, 1) }()
			go func() { got <- mustGetMany(t, other, 1, 1)[1] }()
		}
		synctest.Wait()
		close(start)
		check := func(who string, v *catalog) {
			equal(t, "the value of "+who, v.String(), newCatalog().String())
			v.spoil()
		}
		for range 9 {
			check("who shared the load", <-got)
		}
		for range 2 {
			check("a hit", mustGet(t, c, 1))
			check("a hit", mustGetMany(t, other, 1)[1])
		}
	})
}

// A codec for bytes has nothing to copy, so what it returns is the owner's value itself.
func TestOwnerMayModifyAValueWhoseEncodingIsItself(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		start, spoilt := make(chan struct{}), make(chan struct{})
		load := func(context.Context, int) ([]byte, error) { <-start; return []byte("bytes"), nil }
		var readings atomic.Int64
		c, _ := steady(r, load, aside.WithCodec(rawCodec{reading: func() {
			if readings.Add(1) > 1 { // the first is that of what was loaded, which is compared before its owner has it
				<-spoilt
			}
		}}))
		got := make(chan []byte, 2)
		for range 2 {
			go func() { got <- mustGet(t, c, 1) }()
		}
		synctest.Wait()
		close(start)
		owned := <-got // by the owner: the joiner has not read yet
		owned[0] = 'X'
		close(spoilt)
		equal(t, "what the joiner gets", string(<-got), "bytes")
	})
}

// A damagingCodec cannot read what it is given, and clears it, as a decryption in place does.
type damagingCodec struct{ broken bool }

func (c *damagingCodec) Marshal(v any) ([]byte, error) { return json.Marshal(v) }
func (c *damagingCodec) Unmarshal(data []byte, v any) error {
	if c.broken {
		clear(data)
		return errors.New("wrong key")
	}
	return json.Unmarshal(data, v)
}

func TestIDOfAValueEndsWithTheServersTime(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		before := serverTime(t, r)
		doc := filledWith(t, r, product{1, "lamp", 100})
		after := serverTime(t, r)
		id, _, _ := strings.Cut(strings.TrimPrefix(doc, `{"id":"`), `"`)
		stamp := id[strings.LastIndexByte(id, '-')+1:]
		if stamp < before || stamp > after {
			t.Errorf("the id %s was made at %s, want something from %s to %s", id, stamp, before, after)
		}
	})
}

// In the first seconds after a server without a clock of its own has started, too: times are of one width, since those of
// values are written over others.
func TestTimeInAnIDHasAllItsDigits(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		r.setTime(time.UnixMicro(7_000_042))
		doc := filledWith(t, r, product{1, "lamp", 100})
		if !regexp.MustCompile(`^\{"id":"[^"]*-0000000007\.000042",`).MatchString(doc) {
			t.Errorf("the document is %s", doc)
		}
	})
}

// serverTime is as tokens have it, with all its digits: texts that compare as the times do.
func serverTime(t *testing.T, r *rig) string {
	t.Helper()
	now, err := r.raw.Time(context.Background()).Result()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%010d.%06d", now.Unix(), now.Nanosecond()/1000)
}

func TestDocumentThatItsCodecDamagesIsReplaced(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		codec := &damagingCodec{}
		rows := newTable(product{1, "lamp", 100})
		c, _ := process(r, rows.load, aside.WithCodec(codec))
		mustGet(t, c, 1)
		codec.broken = true
		before := r.get("test:1")
		mustGet(t, c, 1)
		after := r.get("test:1")
		equal(t, "whether the document was replaced by another value", after != before && strings.HasPrefix(after, `{"id":`), true)
	})
}

func TestEveryCallerMayModifyAValueThatIsWhatItsCodecWasGiven(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		start := make(chan struct{})
		load := func(context.Context, int) (kept, error) { <-start; return kept{[]byte("bytes")}, nil }
		c, tap := steady(r, load, aside.WithCodec(keepingCodec{}))
		got := make(chan kept)
		reads := func(who string, go_ func()) {
			for range 4 {
				go func() { got <- mustGet(t, c, 1) }()
			}
			synctest.Wait()
			go_()
			for range 4 {
				v := <-got
				equal(t, "the value of "+who, string(v.data), "bytes")
				copy(v.data, "spoilt")
			}
		}
		reads("who shares a load", func() { close(start) })
		get := tap.before("get")
		reads("who shares a round trip", func() { get.wait(); get.release() })
	})
}

// What the codec does not read is a miss each time, which no error of Get tells.
func TestValueThatCannotBeDecodedIsLogged(t *testing.T) {
	for name, codec := range map[string]aside.Codec{"an error": writeOnlyCodec{}, "a panic": panickingReader{}} {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				logged := new(log)
				rows := newTable(product{1, "lamp", 100})
				c, _ := process(r, rows.load, aside.WithCodec(codec), aside.WithLogger(slog.New(logged)))
				for range 3 {
					mustGet(t, c, 1)
				}
				equal(t, "the number of loads", rows.loads.Load(), 3)
				equal(t, "what it logged", strings.Join(logged.lines, ","), "WARN aside: a value cannot be decoded, so it is loaded")
			})
		})
	}
}

// panickingReader takes what it is given for what it is not, as a codec for protobuf messages does that forgets that it is given
// a pointer to a pointer.
type panickingReader struct{ gobCodec }

func (panickingReader) Unmarshal(_ []byte, v any) error {
	_ = v.(error)
	return nil
}
