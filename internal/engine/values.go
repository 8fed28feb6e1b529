package engine

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/asidecache/aside/internal/jsonvalue"
	"github.com/asidecache/aside/internal/keys"
	"github.com/asidecache/aside/internal/redisstore"
)

// embeddable reports whether what codec wrote may stand inside a JSON document. Any bytes that are JSON may: the reader
// gets back exactly these bytes, whatever they mean to the codec.
func embeddable(codec Codec, data []byte) bool {
	if _, ok := codec.(jsonvalue.Codec); ok {
		return true
	}
	return jsontext.Value(data).IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// Values encodes and decodes the values of one type, which it knows only when it runs. It is given them by
// pointers. So one copy of this code serves every type that a service caches; the edge adds the pointer.
//
// The promise that every caller owns its value is kept here: what two callers get shares no memory, and
// neither does a value with the bytes that it was made from, or that were made from it.
type Values struct {
	core       *Core
	typ        reflect.Type
	nilPointer bool               // it is a pointer, and a nil one means that there is no row
	Deepen     jsonvalue.Deepener // nil if values cannot be copied, or there is no need to
}

// Init chooses how values of type t are encoded, and refuses what JSON would damage.
func (vs *Values) Init(c *Core, t reflect.Type) error {
	vs.core, vs.typ, vs.nilPointer = c, t, t.Kind() == reflect.Pointer
	if deepen, ok := jsonvalue.DeepenerOf(t); ok {
		vs.Deepen = deepen
		c.Config.Shared = c.Config.Shared || deepen == nil
	}
	if _, ok := c.Config.Codec.(jsonvalue.Codec); !ok {
		return nil
	}
	codec, err := jsonvalue.CodecOf(t)
	c.Config.Codec = codec
	return err
}

// IsNil reports whether a value is a nil pointer, which stands for no row.
func (vs *Values) IsNil(v any) bool { return vs.nilPointer && reflect.ValueOf(v).Elem().IsNil() }

// DeepCopy makes of a shallow copy one that shares no memory with the original, if the type can be copied.
func (vs *Values) DeepCopy(v any) {
	if vs.Deepen != nil {
		vs.Deepen(reflect.ValueOf(v).Elem())
	}
}

// DecodeFor decodes into v for one of the callers that share data: once for all, if they may share
// the value or can have copies of it. shared is nil if data is the caller's own. What v holds is
// zero before, and no value if ok is false.
func (vs *Values) DecodeFor(v any, name string, data []byte, shared *redisstore.Decoding) (ok bool) {
	switch {
	case shared == nil:
		return vs.decode(v, name, data)
	case !vs.core.Config.Shared && vs.Deepen == nil:
		return vs.decode(v, name, vs.unshared(data))
	}
	shared.Once.Do(func() { // the value of all of them; it is given to none, unless they may share it
		first := reflect.New(vs.typ)
		if vs.decode(first.Interface(), name, vs.unshared(data)) {
			shared.Value = first.Elem()
		}
	})
	if !shared.Value.IsValid() {
		return false
	}
	reflect.ValueOf(v).Elem().Set(shared.Value)
	if !vs.core.Config.Shared {
		vs.DeepCopy(v)
	}
	return true
}

// decode makes a value that shares memory with no other.
func (vs *Values) decode(v any, name string, data []byte) (ok bool) {
	if data == nil {
		return false
	}
	err := vs.unmarshal(data, v)
	if err == nil && !vs.IsNil(v) {
		return true
	}
	if c := vs.core; c.logged.now() {
		c.Config.Logger.Warn("aside: a value cannot be decoded, so it is loaded", "cache", c.Name, "name", name, "error", err)
	}
	return false
}

// unmarshal calls the codec. What makes it panic is unreadable as well.
func (vs *Values) unmarshal(data []byte, v any) (err error) {
	defer codecPanicked(&err)
	return vs.core.Config.Codec.Unmarshal(data, v)
}

// unshared returns data of its own for a value that is decoded from it to keep. What a codec writes may be memory of a value,
// and what it reads may become so; encoding/json's never is.
func (c *Core) unshared(data []byte) []byte {
	if _, ok := c.Config.Codec.(jsonvalue.Codec); ok {
		return data
	}
	return bytes.Clone(data)
}

func (vs *Values) unshared(data []byte) []byte { return vs.core.unshared(data) }

// Encode turns a value that was loaded into what is stored of it. The two share no memory: a caller
// that has left may modify the value while the other is being stored.
func (vs *Values) Encode(name string, v any, l *Loaded) {
	c := vs.core
	l.Tags = keys.Tags(l.Tags)
	if len(l.Tags) > mostTags {
		l.Life = -1
		if c.logged.now() {
			c.Config.Logger.Error("aside: a value has too many tags, so it is not cached",
				"cache", c.Name, "name", name, "tags", len(l.Tags), "most", mostTags)
		}
	}
	data, err := vs.marshal(v)
	if err == nil {
		vs.compare(name, v, data)
		l.Data = vs.unshared(data)
		return
	}
	if c.logged.now() {
		c.Config.Logger.Error("aside: a value cannot be encoded, so it is not cached", "cache", c.Name, "name", name, "error", err)
	}
}

// marshal gives a codec the value itself, but encoding/json a pointer: else it would not find the methods of *V. What it
// returns may be memory of the value. What makes a codec panic has no encoding.
func (vs *Values) marshal(v any) (data []byte, err error) {
	defer codecPanicked(&err)
	codec := vs.core.Config.Codec
	if _, ok := codec.(jsonvalue.Codec); ok {
		if data, err = codec.Marshal(v); vs.nilPointer && string(data) == "null" {
			err = errors.New("aside: a pointer to what is null in JSON would come back as a nil pointer, which means that there is no row")
		}
		return data, err
	}
	if data, err = codec.Marshal(reflect.ValueOf(v).Elem().Interface()); data == nil {
		data = []byte{} // nil would be none
	}
	return data, err
}

// codecPanicked makes an error of a codec's panic, deferred by what calls it.
func codecPanicked(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("aside: the codec panicked: %v", p)
	}
}

// A Codec is that of package aside.
type Codec interface {
	Marshal(v any) ([]byte, error)
	Unmarshal(data []byte, v any) error
}
