package jsonvalue

import (
	"encoding/json"
	"fmt"
	"reflect"
)

// DefaultCodec is what New uses for values of type t without WithCodec.
func DefaultCodec(t reflect.Type) Codec {
	codec, _ := CodecOf(t)
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
	deepen, ok := DeepenerOf(reflect.TypeFor[V]())
	if ok && deepen != nil {
		deepen(reflect.ValueOf(&v).Elem())
	}
	return v, ok
}
