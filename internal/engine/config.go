package engine

import (
	"crypto/cipher"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/asidecache/aside/internal/jsonvalue"
)

// Config is what the options set. The functions are kept as they came, since an Option knows neither K nor V; New checks
// their types.
type Config struct {
	TTL         time.Duration
	TTLFunc     any // func(K, V) time.Duration
	Jitter      float64
	AbsentTTL   time.Duration
	NotFound    []error
	NotFoundIs  func(error) bool
	Remembered  any // func(K) error
	Stale       time.Duration
	Beta        float64
	Batch       any // BatchLoader[K, V]
	Tags        any // func(K, V) []string
	Scope       string
	Key         any // func(K) string
	Codec       Codec
	AEADs       []cipher.AEAD // nil without WithSeal
	Shared      bool
	Version     int
	Shape       *string // nil: that of V
	LoadTimeout time.Duration
	Timeout     time.Duration // Redis
	MaxLoads    int
	Hold        time.Duration
	Lag         time.Duration
	Logger      *slog.Logger
	Observers   []Observer
	LoadContext any         // func(context.Context) context.Context
	Near        *NearConfig // nil: none
	Verify      float64     // hits a second
	MissAsHit   bool
}

var DefaultTimeout = 250 * time.Millisecond // a variable for the tests

func Defaults() Config {
	return Config{
		TTL:         5 * time.Minute,
		Jitter:      0.1,
		AbsentTTL:   30 * time.Second,
		Beta:        1,
		Codec:       jsonvalue.Codec{},
		LoadTimeout: 10 * time.Second,
		Timeout:     DefaultTimeout,
		MaxLoads:    100,
		Hold:        30 * time.Second,
		Logger:      slog.Default(),
	}
}

// validate reports every setting that cannot be, all of them in one error: a service that is set up wrongly
// is mended in one go. Zero is what the option says it is; only where it says nothing is it out of bounds.
func (c *Config) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	atLeast := func(option string, d, bound time.Duration) {
		if d < bound {
			bad("%s(%v) must be at least %v", option, d, bound)
		}
	}
	atLeast("WithTTL", c.TTL, time.Millisecond)
	atLeast("WithAbsentTTL", c.AbsentTTL, 0)
	atLeast("WithStale", c.Stale, 0)
	atLeast("WithLoadTimeout", c.LoadTimeout, time.Millisecond)
	atLeast("WithRedisTimeout", c.Timeout, time.Millisecond)
	atLeast("WithHold", c.Hold, time.Second)
	if c.Lag != 0 {
		atLeast("WithReplicaLag", c.Lag, time.Millisecond)
	}
	if !(c.Jitter >= 0 && c.Jitter < 1) { // a NaN too
		bad("WithJitter(%v) must be within [0, 1)", c.Jitter)
	}
	if !(c.Beta >= 0 && c.Beta <= maxBeta) {
		bad("WithEarlyRefresh(%v) must be within [0, %v]", c.Beta, maxBeta)
	}
	if !(c.Verify >= 0 && c.Verify <= mostVerified) {
		bad("WithVerify(%v) must be within [0, %d]", c.Verify, mostVerified)
	}
	if c.MaxLoads < 1 {
		bad("WithMaxLoads(%d) must be at least 1", c.MaxLoads)
	}
	if c.Version < 0 {
		bad("WithVersion(%d) must be at least 0", c.Version)
	}
	if c.Codec == nil {
		bad("WithCodec(nil): a codec is needed")
	}
	if c.AEADs != nil {
		if err := checkAEADs(c.AEADs); err != nil {
			errs = append(errs, err)
		}
	}
	if c.Logger == nil {
		bad("WithLogger(nil): use slog.DiscardHandler for silence")
	}
	if c.Remembered != nil && c.NotFoundIs == nil {
		bad("WithNotFoundFunc(nil, remembered): a function is needed that tells not-found errors")
	}
	for _, err := range c.NotFound {
		if err == nil {
			bad("WithNotFound(nil): an error is needed")
		}
	}
	return errors.Join(errs...)
}

const (
	maxBeta      = 1000.0
	mostVerified = 1_000_000
)
