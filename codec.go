package aside

// A Codec turns values into bytes and back. Its methods are called concurrently.
//
// Marshal is given a V, Unmarshal a *V that points to a zero V, and data that it may keep. If V is
// a pointer, as of protobuf messages, that is a pointer to a nil pointer, for which Unmarshal makes
// the message. Every caller owns its value. For callers that read the same entry at the same time,
// Unmarshal is called once, and the value is copied with all that it points to, if its type shows
// what that is. Else Unmarshal is called for each of them. What Marshal returns is stored as it is;
// when it is JSON it can be read with redis-cli.
type Codec interface {
	Marshal(v any) ([]byte, error)
	Unmarshal(data []byte, v any) error
}
