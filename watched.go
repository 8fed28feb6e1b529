package aside

import (
	"time"

	"github.com/asidecache/aside/internal/engine"
	"github.com/asidecache/aside/internal/watch"
)

// What package asidetest must know of a Cache, or have it do, and nobody else.
func init() {
	watch.MissAsHit = Option(func(c *engine.Config) { c.MissAsHit = true })
	watch.Bounds = func(cache any) (lag, ttl time.Duration) {
		return cache.(interface {
			bounds() (lag, ttl time.Duration)
		}).bounds()
	}
}

// bounds returns WithReplicaLag, and the shortest time that an entry or an absence is cached for: 0 if WithTTLFunc decides.
func (c *Cache[K, V]) bounds() (lag, ttl time.Duration) {
	o := &c.core.Config
	if o.TTLFunc != nil {
		return o.Lag, 0
	}
	ttl = o.TTL
	if o.AbsentTTL > 0 {
		ttl = min(ttl, o.AbsentTTL)
	}
	return o.Lag, time.Duration(float64(ttl) * (1 - o.Jitter))
}
