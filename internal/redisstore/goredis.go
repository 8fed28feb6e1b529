package redisstore

import (
	"reflect"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// What differs between the versions of go-redis, and what a client does not show, is looked at here, by the names of fields. So
// the library compiles with all of them.

// cachesAtClient reports whether reads are served from a client-side cache of go-redis.
func cachesAtClient(o *redis.Options) bool {
	options := reflect.ValueOf(o).Elem()
	for _, name := range []string{"ClientSideCache", "ClientSideCacheConfig"} {
		if field := options.FieldByName(name); field.IsValid() && !field.IsZero() {
			return true
		}
	}
	return false
}

// PipelineStats returns the counts of the connections that a client has for pipelines alone, or nil if it has no such pool.
func PipelineStats(stats *redis.PoolStats) *redis.PoolStats {
	field := reflect.ValueOf(stats).Elem().FieldByName("PipelineStats")
	if !field.IsValid() || !field.CanConvert(reflect.TypeOf(stats)) {
		return nil
	}
	return field.Convert(reflect.TypeOf(stats)).Interface().(*redis.PoolStats)
}

// hooksOf returns what tells the hooks of c, of which go-redis has no method to tell, or nil if this version keeps them elsewhere.
func hooksOf(c *redis.Client) func() []redis.Hook {
	base := reflect.ValueOf(c).Elem().FieldByName("baseClient")
	if base.Kind() != reflect.Pointer || base.Elem().Kind() != reflect.Struct {
		return nil
	}
	mixin := base.Elem().FieldByName("hooksMixin")
	if mixin.Kind() != reflect.Struct {
		return nil
	}
	if state := mixin.FieldByName("state"); state.Kind() == reflect.Pointer && keepsHooks(state.Type().Elem()) {
		kept := (*atomic.Pointer[clientHooks])(state.UnsafePointer())
		return func() []redis.Hook { return kept.Load().hooks }
	}
	// Before 9.22 there is a mere slice, which each command reads. AddHook must be called before a command may run, then.
	if slice := mixin.FieldByName("slice"); slice.IsValid() && slice.Type() == reflect.TypeFor[[]redis.Hook]() {
		kept := (*[]redis.Hook)(slice.Addr().UnsafePointer())
		return func() []redis.Hook { return *kept }
	}
	return nil
}

// clientHooks is how go-redis keeps the hooks of a client.
type clientHooks struct{ hooks []redis.Hook }

// keepsHooks reports whether t is an atomic.Pointer to a struct that begins as clientHooks does.
func keepsHooks(t reflect.Type) bool {
	load, ok := reflect.PointerTo(t).MethodByName("Load")
	if !ok || t.PkgPath() != "sync/atomic" {
		return false
	}
	kept := load.Type.Out(0).Elem()
	return kept.Kind() == reflect.Struct && kept.NumField() > 0 && kept.Field(0).Type == reflect.TypeFor[[]redis.Hook]()
}
