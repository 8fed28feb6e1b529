package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// A stored is a document as Redis has it, in the words of the model.
type stored struct {
	kind    kind
	token   string
	version int
	waited  bool
	claimed bool
	holders holders
}

var holderTokens = [holderCount]string{"tx0", "tx1", "lag"}

// readDocument reads what is under the key, "" for nothing. now is the server's time in ms.
func readDocument(t *testing.T, text string, now int64) (s stored) {
	t.Helper()
	if text == "" {
		return s
	}
	var doc struct {
		Lease            string `json:"lease"`
		Waited, Returned bool   `json:",omitempty"`
		ID               string `json:"id"`
		Claim            int64  `json:"claim"`
		Version          int    `json:"value"`
		Hold             map[string]struct{ Expiry int64 }
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatalf("%q is no document: %v", text, err)
	}
	switch {
	case strings.HasPrefix(text, `{"lease":"`):
		s = stored{kind: leased, token: doc.Lease, waited: doc.Waited}
		if doc.Returned {
			s.kind = returned
		}
	case strings.HasPrefix(text, `{"id":"`):
		s = stored{kind: present, token: doc.ID, version: doc.Version, claimed: doc.Claim > now}
	case strings.HasPrefix(text, `{"hold":`):
		s.kind = held
		for who, token := range holderTokens {
			s.holders[who] = doc.Hold[token].Expiry > now
			delete(doc.Hold, token)
		}
		if len(doc.Hold) > 0 {
			t.Fatalf("%q has holders that nobody placed", text)
		}
		if s.holders == (holders{}) {
			t.Fatalf("%q holds the entry for nobody", text)
		}
	default:
		t.Fatalf("%q is in no state that the model knows", text)
	}
	return s
}
