package aside

import (
	"crypto/cipher"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"
	"unsafe"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside/internal/document"
	"github.com/asidecache/aside/internal/engine"
	"github.com/asidecache/aside/internal/jsonvalue"
	"github.com/asidecache/aside/internal/redisstore"
)

// PatientByDefault has no Redis be taken for one that does not answer, because the machine is busy, until undo is called.
func PatientByDefault() (undo func()) {
	was := engine.DefaultTimeout
	engine.DefaultTimeout = time.Minute
	return func() { engine.DefaultTimeout = was }
}

// WarmEvery has indexes kept warm that often until undo is called.
func WarmEvery(d time.Duration) (undo func()) {
	was := engine.WarmEvery
	engine.WarmEvery = d
	return func() { engine.WarmEvery = was }
}

// Verb names what a command of the library does to a document: get, mget, del, or the name of a script.
func Verb(cmd redis.Cmder) string {
	args := cmd.Args()
	verb := strings.ToLower(args[0].(string))
	if verb != "eval" && verb != "evalsha" {
		return verb
	}
	hash := args[1].(string)
	if verb == "eval" {
		hash = redis.NewScript(hash).Hash()
	}
	if name := redisstore.NameOf(hash); name != "" {
		return name
	}
	return verb
}

// StandardIsV2 reports whether the toolchain makes encoding/json of its second version (GOEXPERIMENT=jsonv2). That writes
// maps by numbers that are not whole.
func StandardIsV2() bool {
	_, err := json.Marshal(map[float64]int{})
	return err == nil
}

// VersionOf is the version of the documents of a V that the default codec writes.
func VersionOf[V any]() int64 {
	return jsonvalue.Version(jsonvalue.ShapeOf(reflect.TypeFor[V](), jsonvalue.Codec{}), 0)
}

// A Seal is what WithSeal makes of one AEAD.
type Seal struct{ seal engine.Seal }

func NewSeal(aead cipher.AEAD) *Seal { return &Seal{engine.Seal{AEADs: []cipher.AEAD{aead}}} }

// Close seals a value, and Open opens it.
func (s *Seal) Close(name string, data []byte) []byte {
	sealed, err := s.seal.Close(name, false, data, time.Now().Add(time.Hour))
	if err != nil {
		panic(err)
	}
	return sealed
}

func (s *Seal) Open(name string, sealed []byte) ([]byte, error) {
	data, _, err := s.seal.Open(name, &document.Entry{State: document.Present, Value: sealed, Sealed: true})
	return data, err
}

// StatsOf is what users are told of what the engine has counted, and ListenerOf what the engine tells of what happens.
func StatsOf(s engine.Stats) Stats          { return statsOf(s) }
func ListenerOf(o Observer) engine.Observer { return o.listener() }

// Failing is how many circuits of c count a failure.
func Failing[K comparable, V any](c *Cache[K, V]) int {
	return int(c.core.Store.Breaker.Failing[redisstore.Reads].Load() + c.core.Store.Breaker.Failing[redisstore.Writes].Load())
}

// Seldom returns a func that reports whether something may be logged at a time.
func Seldom() func(now time.Time) bool { return new(engine.Seldom).At }

// Stepped is what time.Now returns in the place of t after the wall clock was set on by d.
func Stepped(t time.Time, d time.Duration) time.Time {
	wall := (*uint64)(unsafe.Pointer(&t)) // whose bits from 30 on are the seconds, where there is a monotonic reading
	*wall += uint64(d/time.Second) << 30
	return t
}

// PutOffNames is how many names are remembered after so many values were too large.
func PutOffNames(n int) int {
	var l redisstore.Large
	for i := range n {
		l.PutOff(fmt.Sprint(i))
	}
	return int(l.Count.Load())
}
