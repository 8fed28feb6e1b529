package redisstore

import (
	"reflect"

	"github.com/redis/go-redis/v9"
)

// The library compiles with an older go-redis than the newest. What only newer ones have is looked at here, by the names of
// its fields.

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
