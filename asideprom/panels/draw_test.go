package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A service is scraped, and what it says is in the picture: the panels that have something to show, and no others.
func TestThePictureShowsWhatWasScraped(t *testing.T) {
	var n atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "# TYPE aside_reads_total counter\naside_reads_total{cache=\"product\",outcome=\"hit\"} %d\n", 1000*n.Add(1))
	}))
	defer server.Close()
	out := filepath.Join(t.TempDir(), "dashboard.svg")
	if err := run(t.Context(), server.URL, 2500*time.Millisecond, "../../docs/grafana/aside.json", out, "a title"); err != nil {
		t.Fatal(err)
	}
	svg, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	for decoder := xml.NewDecoder(strings.NewReader(string(svg))); ; {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%v in %s", err, svg)
		}
	}
	for _, want := range []string{"a title", "Reads by outcome", ">hit<", "Hit ratio", "<path"} {
		if !strings.Contains(string(svg), want) {
			t.Errorf("the picture has no %s", want)
		}
	}
	if strings.Contains(string(svg), "Pending invalidations") {
		t.Error("the picture has a panel of which nothing was scraped")
	}
}

func TestWithoutAnAnswerThereIsNoPicture(t *testing.T) {
	err := run(t.Context(), "http://127.0.0.1:1/metrics", time.Millisecond, "../../docs/grafana/aside.json", filepath.Join(t.TempDir(), "x.svg"), "")
	if err == nil || !strings.Contains(err.Error(), "did not answer") {
		t.Errorf("error %v", err)
	}
}
