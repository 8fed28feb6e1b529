package main

import (
	"encoding/json"
	"unsafe"

	"github.com/bytedance/sonic"
	"github.com/klauspost/compress/s2"
	"github.com/vmihailenco/msgpack/v5"
)

// A codec turns products into bytes and back. Its methods are those of aside.Codec.
type codec interface {
	Marshal(v any) ([]byte, error)
	Unmarshal(data []byte, v any) error
}

// codecs are by the name that the tables show.
var codecs = map[string]codec{
	"json":    jsonCodec{},
	"sonic":   sonicCodec{},
	"json+s2": compressedCodec{},
	"msgpack": msgpackCodec{},
}

type jsonCodec struct{}

func (jsonCodec) Marshal(v any) ([]byte, error)      { return json.Marshal(v) }
func (jsonCodec) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }

// sonicCodec is bytedance/sonic as it comes: faster than encoding/json by compiling a decoder for the type at run time.
type sonicCodec struct{}

func (sonicCodec) Marshal(v any) ([]byte, error)         { return sonic.Marshal(v) }
func (sonicCodec) Unmarshal(data []byte, v any) error    { return sonic.Unmarshal(data, v) }
func (sonicCodec) UnmarshalString(s string, v any) error { return sonic.UnmarshalString(s, v) }

// compressedCodec is JSON, compressed with S2.
type compressedCodec struct{}

func (compressedCodec) Marshal(v any) ([]byte, error) {
	plain, err := json.Marshal(v)
	return s2.Encode(nil, plain), err
}

func (compressedCodec) Unmarshal(data []byte, v any) error {
	plain, err := s2.Decode(nil, data)
	if err != nil {
		return err
	}
	return json.Unmarshal(plain, v)
}

// msgpackCodec is the default of go-redis/cache: msgpack, compressed with s2.
type msgpackCodec struct{}

func (msgpackCodec) Marshal(v any) ([]byte, error) {
	b, err := msgpack.Marshal(v)
	if err != nil {
		return nil, err
	}
	return s2.Encode(nil, b), nil
}

func (msgpackCodec) Unmarshal(data []byte, v any) error {
	b, err := s2.Decode(nil, data)
	if err != nil {
		return err
	}
	return msgpack.Unmarshal(b, v)
}

// decodeString is for libraries that hand out strings. It copies nothing, as a user who counts would see to.
func decodeString(c codec, s string, v any) error {
	if c, ok := c.(interface{ UnmarshalString(string, any) error }); ok {
		return c.UnmarshalString(s, v)
	}
	return c.Unmarshal(unsafe.Slice(unsafe.StringData(s), len(s)), v)
}

// encodeString is its counterpart.
func encodeString(c codec, v any) (string, error) {
	b, err := c.Marshal(v)
	return unsafe.String(unsafe.SliceData(b), len(b)), err
}
