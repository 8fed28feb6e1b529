package jsonvalue

import (
	"encoding/json"
	"reflect"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

// A Codec is the default codec: JSON as encoding/json writes and reads it. encoding/json itself writes, and the engine of its
// second version reads, since each is faster than the other at that. Where the toolchain brings the engine along
// (GOEXPERIMENT=jsonv2), it is the standard library's.
type Codec struct {
	numbers  bool // V holds a json.Number, a type that the engine does not know unless it is told
	standard bool // V holds what the engine reads otherwise, so encoding/json reads it; see CodecOf
}

func (Codec) Marshal(v any) ([]byte, error) { return json.Marshal(v) }

// Unmarshal leaves to encoding/json what the engine refuses. encoding/json refuses it as well, or
// it is one of the oddities that encoding/json bears, such as fields that differ by case alone.
func (c Codec) Unmarshal(data []byte, v any) error {
	if c.standard {
		return json.Unmarshal(data, v)
	}
	if c.read(data, v) == nil {
		return nil
	}
	reflect.ValueOf(v).Elem().SetZero()
	return json.Unmarshal(data, v)
}

func (c Codec) read(data []byte, v any) error {
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
