package aside

import (
	"encoding/json"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

// A Codec turns values into bytes and back. Its methods are called concurrently.
//
// Marshal is given a V, Unmarshal a *V that points to a zero V, and data that it may keep. Every caller owns its value: for
// callers who read the same entry at the same time, Unmarshal is called once and the value copied, with all that it points
// to, if its type shows what that is; else it is called for each of them. What Marshal returns is stored as it is; when it is
// JSON it can be read with redis-cli.
type Codec interface {
	Marshal(v any) ([]byte, error)
	Unmarshal(data []byte, v any) error
}

// jsonCodec is the default codec: JSON as encoding/json writes and reads it, but by the engine of its second version, which
// decodes twice as fast. Where the toolchain brings that along (GOEXPERIMENT=jsonv2), this is the standard library's.
type jsonCodec struct {
	numbers bool // V holds a json.Number, a type that the engine does not know unless it is told
}

func (jsonCodec) Marshal(v any) ([]byte, error) {
	return jsonv2.Marshal(v, jsonOptions, numberMarshalers)
}

func (c jsonCodec) Unmarshal(data []byte, v any) error {
	if c.numbers {
		return jsonv2.Unmarshal(data, v, jsonOptions, numberUnmarshalers)
	}
	return jsonv2.Unmarshal(data, v, jsonOptions)
}

var (
	jsonOptions        = jsonv1.DefaultOptionsV1()
	numberMarshalers   = jsonv2.WithMarshalers(jsonv2.MarshalToFunc(marshalNumber))
	numberUnmarshalers = jsonv2.WithUnmarshalers(jsonv2.UnmarshalFromFunc(unmarshalNumber))
)

func marshalNumber(enc *jsontext.Encoder, n json.Number) error {
	literal, err := json.Marshal(n)
	if err != nil {
		return err
	}
	return enc.WriteValue(literal)
}

func unmarshalNumber(dec *jsontext.Decoder, n *json.Number) error {
	literal, err := dec.ReadValue()
	if err != nil {
		return err
	}
	return json.Unmarshal(literal, n)
}

// embeddable reports whether what codec wrote may stand inside a JSON document. Any bytes that are JSON may: the reader
// gets back exactly these bytes, whatever they mean to the codec.
func embeddable(codec Codec, data []byte) bool {
	if _, ok := codec.(jsonCodec); ok {
		return true
	}
	return jsontext.Value(data).IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}
