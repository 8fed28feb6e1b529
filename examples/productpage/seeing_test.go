package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/asidecache/aside"
)

// Who forgets to invalidate is found without the checker, and the page says so.
func TestWhatIsForgottenIsFoundAndTold(t *testing.T) {
	a := startApp(t, config{verify: 1000})
	l := newLive(a)
	defer l.close()
	p := a.site.ledger.seeded[0]
	if _, err := a.site.ProductByID(t.Context(), p.ID); err != nil {
		t.Fatal(err)
	}
	if err := l.forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := a.site.SetPrice(t.Context(), p.ID, 4711); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("product:%d", p.ID)
	for !told(l, "Verification found it: "+name+" ") {
		if _, err := a.site.ProductByID(t.Context(), p.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	if v := a.verified(); v.stale == 0 || v.all < v.stale {
		t.Errorf("verified: %+v", v)
	}
}

func told(l *live, text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.notes {
		if strings.HasPrefix(n.Text, text) {
			return true
		}
	}
	return false
}

func TestMetricsAreServedOnRequest(t *testing.T) {
	for on, want := range map[bool]string{true: `aside_reads_total{cache="product",outcome="miss"} 1`, false: "404"} {
		a := startApp(t, config{metrics: on})
		server := httptest.NewServer(a.handler())
		defer server.Close()
		if _, err := a.site.ProductByID(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		answer, err := http.Get(server.URL + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, _ := io.ReadAll(answer.Body)
		if text := answer.Status + string(body); !strings.Contains(text, want) {
			t.Errorf("with metrics %v, /metrics says %.300s, and not %s", on, text, want)
		}
	}
}

// A lockedBuffer may be written to by the exporter while it is read.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestTracesAreWrittenOnRequest(t *testing.T) {
	spans := new(lockedBuffer)
	a, err := newApp(t.Context(), config{traces: spans, options: []aside.Option{aside.WithRedisTimeout(time.Minute)}})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(a.seeing.traced(a.handler()))
	answer, err := http.Get(server.URL + "/products/1")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	server.Close()
	a.close()
	for _, want := range []string{`"Name":"GET /products/1"`, `"Name":"aside load product"`, `"Key":"cache.hit"`} {
		if !strings.Contains(spans.String(), want) {
			t.Errorf("the spans are %s, without %s", spans, want)
		}
	}
}
