// Command panels draws the panels of the dashboard from what it scrapes, where there is no Prometheus and no Grafana:
//
//	go run ./examples/productpage -metrics -load 60s &
//	go run ./asideprom/panels -url http://localhost:8080/metrics -for 58s -o docs/img/dashboard.svg
//
// It scrapes once a second, evaluates the expressions of docs/grafana/aside.json over that, and
// writes one SVG. A panel is left out if none of its expressions has a result.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/asidecache/aside/asideprom/internal/query"
)

func main() {
	var (
		url   = flag.String("url", "http://localhost:8080/metrics", "what to scrape")
		span  = flag.Duration("for", time.Minute, "for how long")
		path  = flag.String("dashboard", "docs/grafana/aside.json", "the dashboard")
		out   = flag.String("o", "dashboard.svg", "the picture")
		title = flag.String("title", "", "above the panels; the title of the dashboard if empty")
	)
	flag.Parse()
	if err := run(context.Background(), *url, *span, *path, *out, *title); err != nil {
		fmt.Fprintln(os.Stderr, "panels:", err)
		os.Exit(1)
	}
}

const every = time.Second

func run(ctx context.Context, url string, span time.Duration, path, out, title string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if title != "" {
		d.Title = title
	}
	store, times, err := scrapeFor(ctx, url, span)
	if err != nil {
		return err
	}
	svg, err := draw(d, store, times)
	if err != nil {
		return err
	}
	return os.WriteFile(out, svg, 0o644)
}

// scrapeFor scrapes until the time is over, or nobody answers any more. It waits for the first answer.
func scrapeFor(ctx context.Context, url string, span time.Duration) (*query.Store, []time.Time, error) {
	store := query.NewStore()
	var times []time.Time
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for begin := time.Now(); time.Since(begin) < span; <-ticker.C {
		at := time.Now()
		switch err := scrape(ctx, store, at, url); {
		case err == nil:
			times = append(times, at)
		case len(times) > 0:
			return store, times, nil
		}
	}
	if len(times) == 0 {
		return nil, nil, fmt.Errorf("%s did not answer within %v", url, span)
	}
	return store, times, nil
}

func scrape(ctx context.Context, store *query.Store, at time.Time, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, answer.Status)
	}
	return store.Add(at, answer.Body)
}
