package aside_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/asidecache/aside"
)

// What a codec changes without an error is told once, by where it is.

// toldOf loads v once, and returns what was counted, and logged.
func toldOf[V any](t *testing.T, v V, opts ...aside.Option) (altered uint64, logged string) {
	t.Helper()
	onMiniredis(t, func(t *testing.T, r *rig) {
		log := new(lines)
		c, _ := process(r, func(context.Context, int) (V, error) { return v, nil },
			append(opts, log.option())...)
		mustGet(t, c, 1)
		altered, logged = c.Stats().Altered, log.String()
	})
	return altered, logged
}

// An entity is what some ORMs return: it can load more, as long as it has its client.
type entity struct {
	ID     int
	client *fakeClient
}

type fakeClient struct{ name string }

// A nothingness is null in JSON as long as it is empty.
type nothingness struct{ s string }

func (n *nothingness) MarshalJSON() ([]byte, error) {
	if n.s == "" {
		return []byte("null"), nil
	}
	return json.Marshal(n.s)
}
func (n *nothingness) UnmarshalJSON(data []byte) error { return json.Unmarshal(data, &n.s) }

func TestWhatJSONChangesWithoutAnErrorIsTold(t *testing.T) {
	type holder struct {
		Raw      json.RawMessage
		At       time.Time
		Name     string
		ByName   map[string]int
		Nothing  *nothingness
		Pointers **int
		Any      any
		Secret   string `json:"-"`
		Inner    []struct{ Any any }
	}
	berlin := time.FixedZone("LMT", 53*60+28)
	for what, c := range map[string]struct {
		value holder
		words []string
	}{
		"a nil RawMessage":              {holder{}, []string{"path=.Raw", "0 elements and 4"}},
		"a zero time in a zone":         {holder{At: time.Time{}.In(berlin)}, []string{"path=.At", "offset from UTC has seconds"}},
		"a zone":                        {holder{At: time.Unix(1, 0).In(time.FixedZone("CET", 3600))}, []string{"path=.At", "name of the zone"}},
		"what is not UTF-8":             {holder{Name: "caf\xe9"}, []string{"path=.Name", "not UTF-8"}},
		"map keys that become one":      {holder{ByName: map[string]int{"\xff": 1, "\xfe": 1}}, []string{"path=\".ByName[", "no such key"}},
		"a pointer to what writes null": {holder{Nothing: new(nothingness)}, []string{"path=.Nothing", "one of them is nil"}},
		"a pointer to a nil pointer":    {holder{Pointers: new(*int)}, []string{"path=.Pointers", "one of them is nil"}},
		"a struct in an any":            {holder{Any: product{ID: 1}}, []string{"path=.Any", "aside_test.product and map[string]interface {}"}},
		"a whole number in an any":      {holder{Any: 1}, []string{"path=.Any", "int and float64"}},
		"a field that is left out":      {holder{Secret: "hash"}, []string{"path=.Secret", `it is tagged json:\"-\"`}},
		"a place in a list":             {holder{Inner: []struct{ Any any }{{"a"}, {int64(1)}}}, []string{"path=.Inner[1].Any", "int64"}},
	} {
		if what != "a nil RawMessage" {
			c.value.Raw = json.RawMessage("1")
		}
		altered, logged := toldOf(t, c.value)
		equal(t, "Altered by "+what, altered, 1)
		equal(t, "the lines about "+what, strings.Count(logged, "\n"), 1)
		for _, word := range append(c.words, "level=WARN", "cache=test", "name=test:1") {
			if !strings.Contains(logged, word) {
				t.Errorf("of %s, the line %q does not say %q", what, logged, word)
			}
		}
		if strings.Contains(logged, "hash") {
			t.Errorf("of %s, the line %q tells the value", what, logged)
		}
	}
	altered, logged := toldOf(t, &entity{1, &fakeClient{"db"}})
	equal(t, "Altered by an entity that loses its client", altered, 1)
	if !strings.Contains(logged, "path=.client") || !strings.Contains(logged, "not exported") {
		t.Errorf("the line is %q", logged)
	}
}

// A message stands for what protoc makes: what it has unexported, it keeps for itself.
type message struct {
	Name string
	size int32
}

func (*message) ProtoMessage() {}

// An opaqueMessage is one with the opaque API: its contents are not exported.
type opaqueMessage struct {
	xxx_hidden_Name *string        `protobuf:"bytes,1,opt,name=name"`
	xxx_hidden_Up   *opaqueMessage `protobuf:"bytes,2,opt,name=up"`
	XXX_presence    [1]uint32
}

// A lazyMessage is an opaqueMessage whose messages may not have been decoded yet.
type lazyMessage struct {
	xxx_hidden_Name       *string        `protobuf:"bytes,1,opt,name=name"`
	xxx_hidden_Down       *opaqueMessage `protobuf:"bytes,2,opt,name=down"`
	XXX_lazyUnmarshalInfo int
}

func (*lazyMessage) ProtoMessage()   {}
func (*opaqueMessage) ProtoMessage() {}

// forgettingCodec reads nothing but the presence of a field.
type forgettingCodec struct{ stdCodec }

func (forgettingCodec) Unmarshal(_ []byte, v any) error {
	switch v := v.(type) {
	case **opaqueMessage:
		*v = &opaqueMessage{XXX_presence: [1]uint32{7}}
	case **lazyMessage:
		*v = new(lazyMessage)
	}
	return nil
}

func TestWhatACodecLosesOfAnOpaqueMessageIsTold(t *testing.T) {
	name, codec := "lamp", aside.WithCodec(forgettingCodec{})
	for path, m := range map[string]*opaqueMessage{
		"": {}, ".xxx_hidden_Name": {xxx_hidden_Name: &name}, ".xxx_hidden_Up": {xxx_hidden_Up: &opaqueMessage{}},
	} {
		altered, logged := toldOf(t, m, codec)
		equal(t, "whether it is told that "+path+" is lost", altered > 0, path != "")
		if !strings.Contains(logged, "path="+path) && path != "" {
			t.Errorf("the line is %q", logged)
		}
	}
	altered, logged := toldOf(t, &lazyMessage{xxx_hidden_Down: &opaqueMessage{}}, codec)
	equal(t, "what is told of a message that is decoded later", fmt.Sprint(altered, logged), "0")
	altered, _ = toldOf(t, &lazyMessage{xxx_hidden_Name: &name}, codec)
	equal(t, "whether it is told what else is lost of it", altered, 1)
}

// messageCodec notes the size of a message in it, as protobuf does.
type messageCodec struct{ stdCodec }

func (c messageCodec) Marshal(v any) ([]byte, error) {
	v.(*message).size = 7
	return c.stdCodec.Marshal(v)
}

func TestWhatIsNoDifferenceToAUserIsNotTold(t *testing.T) {
	type quiet struct {
		Now   time.Time
		Local time.Time
		Raw   json.RawMessage
		IP    net.IP
		Zero  *big.Int
		Empty []string       `json:",omitempty"`
		NoMap map[string]int `json:",omitempty"`
		None  []string
		Full  []string
		Anys  map[string]any
		//lint:ignore U1000 the field is there for its type
		hidden  *int
		Pointer *quiet
	}
	check := func(altered uint64, logged string) {
		t.Helper()
		equal(t, "Altered, and the lines", fmt.Sprint(altered, logged), "0")
	}
	check(toldOf(t, quiet{
		Now: time.Now(), Local: time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("UTC", 0)),
		Raw: json.RawMessage(`{"a": [1, "<b>"]}`), IP: net.IPv4(10, 0, 0, 1).To4(), Zero: big.NewInt(0),
		Empty: []string{}, NoMap: map[string]int{}, Full: []string{}, Anys: map[string]any{"a": 1.5, "b": []any{"x", nil}},
		Pointer: &quiet{Raw: json.RawMessage("null")},
	}))
	check(toldOf(t, newTable(product{1, "lamp", 100}).rows[1]))
	check(toldOf(t, []int(nil)))
	check(toldOf(t, map[string]int{}))
	check(toldOf(t, &message{Name: "a"}, aside.WithCodec(messageCodec{})))
}

// Not so with a codec that knows no empty list: to a client of an API, null is not [].
func TestAnEmptyListThatBecomesNilIsTold(t *testing.T) {
	altered, logged := toldOf(t, struct{ IDs []int }{[]int{}}, aside.WithCodec(gobCodec{}))
	equal(t, "Altered", altered, 1)
	if !strings.Contains(logged, "path=.IDs") || !strings.Contains(logged, "one is nil, the other empty") {
		t.Errorf("the line is %q", logged)
	}
}

// The first values are compared, and then one in 4096; one difference is logged.
func TestASampleOfTheValuesIsCompared(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		log := new(lines)
		ones := func(_ context.Context, ids []int) (map[int]any, error) {
			rows := make(map[int]any)
			for _, id := range ids {
				rows[id] = 1
			}
			return rows, nil
		}
		c, _ := process(r, func(context.Context, int) (any, error) { return 1, nil },
			log.option(), aside.WithBatch(ones))
		keys := idsFrom(0, 4096)
		mustGetMany(t, c, keys[:4095]...)
		equal(t, "Altered after 4095 values", c.Stats().Altered, 16)
		mustGetMany(t, c, keys[4095])
		equal(t, "Altered after 4096", c.Stats().Altered, 17)
		equal(t, "the lines", strings.Count(log.String(), "\n"), 1)
	})
}

// A hostile is equal to nothing: its method panics, or ends its goroutine.
type hostile struct{ Name string }

func (h hostile) Equal(hostile) bool {
	if h.Name == "panics" {
		panic("no")
	}
	runtime.Goexit()
	return false
}

// A hostileCodec does not decode: it panics, ends its goroutine, fails, clears what it is given, or never ends.
type hostileCodec struct {
	stdCodec
	how string
}

func (c hostileCodec) Unmarshal(data []byte, v any) error {
	switch c.how {
	case "panics":
		panic("no")
	case "ends":
		runtime.Goexit()
	case "clears":
		clear(data)
	case "hangs":
		time.Sleep(time.Hour)
	}
	return errors.New("no")
}

func TestWhatFailsInTheComparisonChangesNothing(t *testing.T) {
	for _, how := range []string{"panics", "ends"} {
		altered, logged := toldOf(t, hostile{how})
		equal(t, "what is told of an Equal that "+how, fmt.Sprint(altered, logged), "0")
	}
	for _, how := range []string{"panics", "ends", "clears", "hangs"} {
		onMiniredis(t, func(t *testing.T, r *rig) {
			c, _ := process(r, newTable(product{1, "lamp", 100}).load, aside.WithCodec(hostileCodec{how: how}))
			start := time.Now()
			equal(t, "what the owner gets where the codec "+how, mustGet(t, c, 1), product{1, "lamp", 100})
			equal(t, "whether that took long", time.Since(start) > time.Second, false)
			if doc := r.get("test:1"); !strings.HasSuffix(doc, `"value":{"ID":1,"Name":"lamp","Price":100}}`) {
				t.Errorf("where the codec %s, the document is %s", how, doc)
			}
			equal(t, "Altered", c.Stats().Altered, 0)
			time.Sleep(2 * time.Hour) // what hangs has been left behind
		})
	}
}

// A handler of logs that panics.
type panickingHandler struct{ slog.Handler }

func (panickingHandler) Enabled(context.Context, slog.Level) bool  { return true }
func (panickingHandler) Handle(context.Context, slog.Record) error { panic("no disk") }

func TestALoggerThatPanicsOnADifferenceChangesNothing(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, _ := process(r, func(context.Context, int) (any, error) { return 1, nil }, aside.WithLogger(slog.New(panickingHandler{})))
		equal(t, "the value", mustGet(t, c, 1), any(1))
		equal(t, "a hit", mustGet(t, c, 1), any(1.0))
	})
}

func TestValuesOfABatchAreComparedBeforeTheirOwnersHaveThem(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		load := func(_ context.Context, ids []int) (map[int]*entity, error) {
			rows := make(map[int]*entity)
			for _, id := range ids {
				rows[id] = &entity{id, &fakeClient{"db"}}
			}
			return rows, nil
		}
		c, _ := process(r, func(context.Context, int) (*entity, error) { return nil, nil }, aside.WithBatch(load))
		for _, e := range mustGetMany(t, c, 1, 2, 3) {
			e.client.name, e.ID = "mine", 0 // a race if anything still reads it
		}
		equal(t, "Altered", c.Stats().Altered, 3)
	})
}

func TestLogLinesOfUnreadableValuesNameTheirRedisKey(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		log := new(lines)
		logger := log.option()
		c, _ := process(r, newTable(product{1, "lamp", 100}).load, logger)
		r.put("test:1", byHand(time.Hour, `"no product"`))
		mustGet(t, c, 1)
		bad, _ := process(r, func(context.Context, int) (func(), error) { return func() {}, nil },
			logger, aside.WithCodec(stdCodec{}))
		mustGet(t, bad, 2)
		for _, part := range []string{"cannot be decoded, so it is loaded\" cache=test name=test:1", "cannot be encoded, so it is not cached\" cache=test name=test:2"} {
			if !strings.Contains(log.String(), part) {
				t.Errorf("the log %q does not say %q", log, part)
			}
		}
	})
}
