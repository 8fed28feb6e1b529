package aside

import (
	"errors"
	"reflect"

	"github.com/redis/go-redis/v9"
)

// checkClient refuses the clients that would break the promise of coherent reads without a sign, where their options
// show it. What no option shows, a failover client that reads from replicas for one, is a precondition of New.
func checkClient(rdb redis.UniversalClient) error {
	if rdb == nil || reflect.ValueOf(rdb).Kind() == reflect.Pointer && reflect.ValueOf(rdb).IsNil() {
		return errors.New("the Redis client is nil")
	}
	switch rdb := rdb.(type) {
	case *redis.Ring:
		return errors.New("a redis.Ring forgets what a node holds when it comes and goes: use a redis.ClusterClient")
	case *redis.Client:
		if o := rdb.Options(); o.ClientSideCache != nil || o.ClientSideCacheConfig != nil {
			return errors.New("ClientSideCache or ClientSideCacheConfig of redis.Options is set: " +
				"a client-side cache serves reads from before an invalidation")
		}
	case *redis.ClusterClient:
		o := rdb.Options()
		if o.ReadOnly || o.RouteByLatency || o.RouteRandomly {
			return errors.New("ReadOnly, RouteByLatency or RouteRandomly of redis.ClusterOptions is set: " +
				"replicas serve reads from before an invalidation")
		}
	}
	return nil
}
