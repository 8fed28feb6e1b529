package engine

import (
	"bytes"
	"strings"
	"time"

	"github.com/asidecache/aside/internal/document"
)

// A Witness identifies a document.
type Witness struct {
	Token  string // or its beginning, which no other document has
	stored int64  // ms since 1970
}

func WitnessOf(e *document.Entry) Witness {
	if e.State != document.Present && e.State != document.Absent {
		return Witness{}
	}
	return Witness{string(e.Token), e.LeasedAt()}
}

// witnessOfFill is of the document that a fill has stored. The server has written the time into its id.
func witnessOfFill(doc []byte) Witness {
	e := document.Parse(doc)
	return Witness{string(e.Token[:bytes.LastIndexByte(e.Token, '-')+1]), time.Now().UnixMilli()}
}

// A Witnessed is a near copy of a Cache with WithVerify: it knows which document it is a copy of.
type Witnessed struct {
	Copied any
	Name   string
	Of     Witness
}

// is reports whether two witnesses are of one document.
func (w Witness) is(of Witness) bool {
	return w.Token != "" && (strings.HasPrefix(w.Token, of.Token) || of.Token != "" && strings.HasPrefix(of.Token, w.Token))
}
