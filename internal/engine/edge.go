package engine

import (
	"context"
	"reflect"

	"github.com/asidecache/aside/internal/document"
	"github.com/asidecache/aside/internal/redisstore"
)

// An edge is what a core needs of the side of its Cache that knows K and V. Each want is of a key, and has room for its value:
// only the edge looks at these. All of its methods run code of the user's.
type edge interface {
	// LoadOne calls the loader, and leaves the value in the want. A row that is not there is a notFoundError.
	LoadOne(ctx context.Context, w *Want) error

	// LoadMany calls the batch loader, and is LoadOne for each want.
	LoadMany(ctx context.Context, wants []*Want) []error

	// Encode makes what is to be stored of the value that was loaded.
	Encode(w *Want) Loaded

	// Read takes the value, or the absence, out of a document, which answers. The error is ErrUnusable if the value cannot be
	// decoded.
	Read(w *Want, e *document.Entry) error

	// Share decodes the value that another want has loaded, or read. The error is ErrUnusable if it cannot be decoded.
	Share(w *Want, data []byte, shared *redisstore.Decoding) error

	// Remembered is the error that the user has for an absence, nil if none.
	Remembered(w *Want) error

	// WillFill is called before the fill of a want is sent, and Filled once Redis has accepted it: near copies are made of it.
	WillFill(w *Want)
	Filled(w *Want)
	OpenNear()
	DetachNear()
	NearStats(s *Stats)

	// ValueIn is the value of a want. NearWitness tells which document the near copy was made of
	// that a read would get. Both are for the verifier.
	ValueIn(w *Want) reflect.Value
	NearWitness(w *Want) (Witness, bool)
}
