package aside

import "encoding/json"

// A Codec turns values into bytes and back. Its methods are called concurrently.
//
// Marshal is given a V, Unmarshal a *V that points to a zero V; it is called once for each caller, so that every caller
// owns its value, with data that it may keep. What Marshal returns is stored as it is; when it is JSON it can be read
// with redis-cli.
type Codec interface {
	Marshal(v any) ([]byte, error)
	Unmarshal(data []byte, v any) error
}

// jsonCodec is the default codec.
type jsonCodec struct{}

func (jsonCodec) Marshal(v any) ([]byte, error)      { return json.Marshal(v) }
func (jsonCodec) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }

// embeddable reports whether what codec wrote may stand inside a JSON document. Any bytes that are JSON may: the reader
// gets back exactly these bytes, whatever they mean to the codec.
func embeddable(codec Codec, data []byte) bool {
	if _, ok := codec.(jsonCodec); ok {
		return true
	}
	return json.Valid(data)
}
