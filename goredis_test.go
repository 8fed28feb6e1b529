package aside_test

import (
	"reflect"
	"regexp"
	"testing"

	"github.com/redis/go-redis/v9"
)

// The tests compile with the go-redis of go.mod, so they reach by name what only newer ones have. With go.work they run with the
// newest, which must have all of it.

// newer returns has, and fails the test if go-redis is newer than the one of go.mod and has it not.
func newer(t *testing.T, has bool, what string) bool {
	t.Helper()
	lowest := regexp.MustCompile(`redis/go-redis/v9 v(\S+)`).FindStringSubmatch(read(t, "go.mod"))[1]
	if !has && redis.Version() != lowest {
		t.Errorf("go-redis %s has no %s any more", redis.Version(), what)
	}
	return has
}

// autoPipeline is the method AutoPipeline of a client, which is not valid if it has none.
func autoPipeline(t *testing.T, client redis.UniversalClient) (method reflect.Value, ok bool) {
	t.Helper()
	method = reflect.ValueOf(client).MethodByName("AutoPipeline")
	return method, newer(t, method.IsValid(), "AutoPipeline")
}

// autoPipelined has a rig's clients share their connections.
func autoPipelined(t *testing.T, r *rig) *rig {
	dial := r.dial
	r.dial = func(t *testing.T) redis.UniversalClient { return autoPipeliner(t, dial(t)) }
	return r
}

// autoPipeliner makes an AutoPipeliner of a client.
func autoPipeliner(t *testing.T, client redis.UniversalClient) redis.UniversalClient {
	t.Helper()
	method, ok := autoPipeline(t, client)
	if !ok {
		t.Skipf("go-redis %s has no AutoPipeliner", redis.Version())
	}
	made := method.Call(nil)
	if err, failed := made[1].Interface().(error); failed {
		t.Fatal(err)
	}
	return closed(t, made[0].Interface().(redis.UniversalClient))
}
