package redisstore

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"unsafe"

	"github.com/redis/go-redis/v9"
)

// CheckClient refuses the clients that would break the promise of coherent reads without a sign,
// where their options show it. It finds them wherever they are in a client of the user's own
// making, except in a map, a func, a channel, an atomic value or an any. What it cannot see there is
// a precondition of New. What no option shows is a precondition as well, for example that a failover
// client does not read from replicas.
func CheckClient(rdb redis.UniversalClient) error {
	if rdb == nil || reflect.ValueOf(rdb).Kind() == reflect.Pointer && reflect.ValueOf(rdb).IsNil() {
		return errors.New("the Redis client is nil")
	}
	c := clientCheck{seen: make(map[visited]bool)}
	v := reflect.ValueOf(rdb)
	if v.Kind() == reflect.Struct { // whose fields then have addresses
		v = reflect.New(v.Type()).Elem()
		v.Set(reflect.ValueOf(rdb))
	}
	return c.check(v)
}

// A clientCheck looks through what a client is made of.
type clientCheck struct{ seen map[visited]bool }

type visited struct {
	at unsafe.Pointer
	t  reflect.Type
}

func (c *clientCheck) check(v reflect.Value) error {
	if !mayHold(v.Type(), make(map[reflect.Type]bool)) {
		return nil // among others most of what a client has beside another: loggers, pools, whatever may be changing now
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		if err, ok := checkOptions(v.Type().Elem(), v.UnsafePointer()); ok {
			return err
		}
		return c.check(v.Elem())
	case reflect.Interface:
		if v.IsNil() {
			return nil
		}
		return c.check(v.Elem())
	case reflect.Struct:
		return c.checkFields(v)
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if err := c.check(v.Index(i)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *clientCheck) checkFields(v reflect.Value) error {
	if v.CanAddr() {
		at := v.Addr().UnsafePointer()
		if c.seen[visited{at, v.Type()}] {
			return nil
		}
		c.seen[visited{at, v.Type()}] = true
		if err, ok := checkOptions(v.Type(), at); ok {
			return err
		}
	}
	for i := range v.NumField() {
		if err := c.check(v.Field(i)); err != nil {
			return err
		}
	}
	return nil
}

// mayHold reports whether a client can be found in a t, through types that are not within.
func mayHold(t reflect.Type, within map[reflect.Type]bool) bool {
	if within[t] {
		return false
	}
	within[t] = true
	switch t.Kind() {
	case reflect.Interface:
		return isClientInterface(t)
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return mayHold(t.Elem(), within)
	case reflect.Struct:
		if isClient(t) {
			return true
		}
		for i := range t.NumField() {
			if mayHold(t.Field(i).Type, within) {
				return true
			}
		}
	}
	return false
}

func isClient(t reflect.Type) bool { return slices.Contains(clientTypes, reflect.PointerTo(t)) }

// isClientInterface reports whether clients of go-redis implement t and other things do not, unlike
// io.Closer.
func isClientInterface(t reflect.Type) bool {
	implements := func(client reflect.Type) bool { return client.Implements(t) }
	return slices.ContainsFunc(clientTypes, implements) && !reflect.TypeFor[anything]().Implements(t)
}

var clientTypes = []reflect.Type{
	reflect.TypeFor[*redis.Client](), reflect.TypeFor[*redis.ClusterClient](), reflect.TypeFor[*redis.Ring](),
}

type anything struct{}

func (anything) Close() error   { return nil }
func (anything) String() string { return "" }

// checkOptions says what is wrong with the client of type t at a place, if it is one.
func checkOptions(t reflect.Type, at unsafe.Pointer) (err error, isOne bool) {
	switch t {
	case reflect.TypeFor[redis.Ring]():
		return errors.New("a redis.Ring forgets what a node holds when it comes and goes: use a redis.ClusterClient"), true
	case reflect.TypeFor[redis.Client]():
		if cachesAtClient((*redis.Client)(at).Options()) {
			return errors.New("ClientSideCache or ClientSideCacheConfig of redis.Options is set: " +
				"a client-side cache serves reads from before an invalidation"), true
		}
		return nil, true
	case reflect.TypeFor[redis.ClusterClient]():
		o := (*redis.ClusterClient)(at).Options()
		if o.ReadOnly || o.RouteByLatency || o.RouteRandomly {
			return errors.New("ReadOnly, RouteByLatency or RouteRandomly of redis.ClusterOptions is set: " +
				"replicas serve reads from before an invalidation"), true
		}
		return nil, true
	}
	return nil, false
}

// AddressOf tells where a client's Redis is, for the log.
func AddressOf(rdb redis.UniversalClient) string {
	switch rdb := rdb.(type) {
	case *redis.Client:
		return rdb.Options().Addr
	case *redis.ClusterClient:
		return strings.Join(rdb.Options().Addrs, " ")
	}
	return reflect.TypeOf(rdb).String()
}
