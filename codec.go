package aside

import (
	"encoding/json"
	"reflect"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

// A Codec turns values into bytes and back. Its methods are called concurrently.
//
// Marshal is given a V, Unmarshal a *V that points to a zero V, and data that it may keep. If V is a pointer, as of protobuf
// messages, that is a pointer to a nil pointer, for which Unmarshal makes the message. Every caller owns its value: for
// callers who read the same entry at the same time, Unmarshal is called once and the value copied, with all that it points
// to, if its type shows what that is; else it is called for each of them. What Marshal returns is stored as it is; when it is
// JSON it can be read with redis-cli.
type Codec interface {
	Marshal(v any) ([]byte, error)
	Unmarshal(data []byte, v any) error
}

// jsonCodec is the default codec: JSON as encoding/json writes and reads it. encoding/json itself writes, and the engine of its
// second version reads, since each is faster than the other at that. Where the toolchain brings the engine along
// (GOEXPERIMENT=jsonv2), it is the standard library's.
type jsonCodec struct {
	numbers  bool // V holds a json.Number, a type that the engine does not know unless it is told
	standard bool // V holds what the engine reads otherwise, so encoding/json reads it; see jsonCodecOf
}

func (jsonCodec) Marshal(v any) ([]byte, error) { return json.Marshal(v) }

// Unmarshal leaves to encoding/json what the engine refuses: that is what it refuses, too, or one of the oddities that it
// bears, such as fields that differ by case alone.
func (c jsonCodec) Unmarshal(data []byte, v any) error {
	if c.standard {
		return json.Unmarshal(data, v)
	}
	if c.read(data, v) == nil {
		return nil
	}
	reflect.ValueOf(v).Elem().SetZero()
	return json.Unmarshal(data, v)
}

func (c jsonCodec) read(data []byte, v any) error {
	if c.numbers {
		return jsonv2.Unmarshal(data, v, jsonOptions, numberUnmarshalers)
	}
	return jsonv2.Unmarshal(data, v, jsonOptions)
}

var (
	// To report errors as encoding/json does, the engine would go over all data before it decodes them.
	jsonOptions        = jsonv2.JoinOptions(jsonv1.DefaultOptionsV1(), jsonv1.ReportErrorsWithLegacySemantics(false))
	numberUnmarshalers = jsonv2.WithUnmarshalers(jsonv2.UnmarshalFromFunc(unmarshalNumber))
)

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
