package asidepg_test

import (
	"testing"
	"time"

	"github.com/asidecache/aside/asidepg"
)

// Exporters know a feed by this method alone, so that no module of them needs this one.
func TestLagIsWhatExportersAskFor(t *testing.T) {
	feed, err := asidepg.New("postgres://localhost/nobody", asidepg.Config{Slot: "aside", Publication: "aside"})
	if err != nil {
		t.Fatal(err)
	}
	var exported interface {
		Lag() (slot string, behind time.Duration, bytes int64)
	} = feed
	if slot, behind, bytes := exported.Lag(); slot != "aside" || behind != feed.Stats().Behind || bytes != feed.Stats().BytesBehind {
		t.Errorf("the lag of %+v is %s, %v, %d", feed.Stats(), slot, behind, bytes)
	}
}
