package aside

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// PatientByDefault has no Redis be taken for one that does not answer, because the machine is busy, until undo is called.
func PatientByDefault() (undo func()) {
	was := defaultTimeout
	defaultTimeout = time.Minute
	return func() { defaultTimeout = was }
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
	names := [...]string{
		scriptLease: "lease", scriptFill: "fill", scriptRenew: "renew",
		scriptRelease: "release", scriptClaim: "claim", scriptInvalidate: "invalidate", scriptHold: "hold",
		scriptMark: "mark", scriptRecord: "record", scriptSince: "since", scriptHoldTags: "holdtags",
		scriptIndex: "index", scriptUnindex: "unindex",
	}
	for i, s := range scripts {
		if hash == s.one.Hash() || hash == s.many.Hash() {
			return names[i]
		}
	}
	return verb
}

// DefaultCodec is what New uses for values of type t without WithCodec.
func DefaultCodec(t reflect.Type) Codec {
	codec, _ := jsonCodecOf(t)
	return codec
}

// ReadsOtherwise reports how the default codec reads data as a t otherwise than encoding/json, or nil.
func ReadsOtherwise(t reflect.Type, data []byte) error {
	want, got := reflect.New(t), reflect.New(t)
	wantErr := json.Unmarshal(data, want.Interface())
	err := DefaultCodec(t).Unmarshal(data, got.Interface())
	switch {
	case (err != nil) != (wantErr != nil):
		return fmt.Errorf("%s as a %v: the error is %v, but that of encoding/json %v", data, t, err, wantErr)
	case err == nil && !reflect.DeepEqual(got.Interface(), want.Interface()):
		return fmt.Errorf("%s as a %v is %+v, but for encoding/json %+v", data, t, got.Elem(), want.Elem())
	}
	return nil
}

// StandardIsV2 reports whether the toolchain makes encoding/json of its second version (GOEXPERIMENT=jsonv2). That writes
// maps by numbers that are not whole.
func StandardIsV2() bool {
	_, err := json.Marshal(map[float64]int{})
	return err == nil
}

// DeepCopy copies v as it is copied for callers that share a document; ok is false if each of them has to decode it.
func DeepCopy[V any](v V) (_ V, ok bool) {
	deepen, ok := deepenerOf(reflect.TypeFor[V]())
	if ok && deepen != nil {
		c := &Cache[int, V]{deepen: deepen}
		v = c.deepCopy(v)
	}
	return v, ok
}
