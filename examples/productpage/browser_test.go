package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asidecache/aside"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// A browser is a headless Chromium that shows a page of a server. It ends with the test, which fails if the page has written an
// error or a warning to its console.
type browser struct {
	t       *testing.T
	ctx     context.Context
	url     string
	refuses atomic.Bool // requests of the page may be refused, which the console says too
}

// openBrowser skips the test where no browser is installed, unless ASIDE_TEST_SERVERS=required.
func openBrowser(t *testing.T, url string) *browser {
	t.Helper()
	ctx, end := chromedp.NewContext(context.Background(), chromedp.WithAllocatorOptions(
		chromedp.ExecPath(installedBrowser(t)), chromedp.NoSandbox, chromedp.WSURLReadTimeout(time.Minute)))
	t.Cleanup(end)
	b := &browser{t: t, ctx: ctx, url: url}
	b.do(chromedp.EmulateViewport(1280, 900))
	said := chromedp.Console(ctx)
	go func() {
		for m, err := range said {
			if err != nil {
				return // the test has ended
			}
			if b.refuses.Load() && strings.Contains(m.Text, "400 (Bad Request)") {
				continue
			}
			switch m.Type {
			case chromedp.ConsoleError, chromedp.ConsoleWarning, chromedp.ConsoleException:
				t.Errorf("the console says: %s", m)
			}
		}
	}()
	return b
}

func installedBrowser(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "headless-shell"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("ASIDE_TEST_SERVERS") == "required" {
		t.Fatal("no Chromium is installed and ASIDE_TEST_SERVERS=required")
	}
	t.Skip("no Chromium is installed")
	return ""
}

func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *browser) open(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.url + path))
}

func (b *browser) click(selector string) {
	b.t.Helper()
	b.do(chromedp.Click(selector))
}

func (b *browser) text(id string) string {
	b.t.Helper()
	text, err := chromedp.Run(b.ctx, chromedp.TextContent("#"+id))
	if err != nil {
		b.t.Fatal(err)
	}
	return text
}

// number is what the page shows as 1,234.
func (b *browser) number(id string) int {
	b.t.Helper()
	n, err := strconv.Atoi(strings.ReplaceAll(b.text(id), ",", ""))
	if err != nil {
		b.t.Fatal(err)
	}
	return n
}

// figure is the JavaScript for that number.
func figure(id string) string {
	return `Number(document.getElementById("` + id + `").textContent.replaceAll(",", ""))`
}

// says is the JavaScript for whether an element has a text in it.
func says(id, text string) string {
	return fmt.Sprintf("document.getElementById(%q).textContent.includes(%q)", id, text)
}

// newest is the JavaScript for whether the last thing that happened has a text in it.
func newest(text string) string {
	return fmt.Sprintf(`(document.querySelector("#notes li")?.textContent ?? "").includes(%q)`, text)
}

// await waits until a JavaScript expression holds, on this page or on one that it is replaced by. How long that takes is no
// finding.
func (b *browser) await(expression string) {
	b.t.Helper()
	var held bool
	var err error
	for give := time.Now().Add(2 * time.Minute); time.Now().Before(give); time.Sleep(50 * time.Millisecond) {
		if held, err = chromedp.Run(b.ctx, chromedp.Evaluate[bool](expression)); held && err == nil {
			return
		}
	}
	all, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string]("document.body.innerText"))
	b.t.Fatalf("%s does not hold (%v), on a page with\n%s", expression, err, all)
}

// serveLive serves a with its dashboard until the test ends, and returns the URL.
func serveLive(t *testing.T, a *app) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.serve(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return "http://" + listener.Addr().String()
}

// demoConfig is what the program does by default, but for a Redis that is slow because the machine is busy.
func demoConfig() config {
	return config{near: 10_000, cost: newCost(10*time.Millisecond, 4), options: []aside.Option{aside.WithRedisTimeout(10 * time.Second)}}
}

func TestTheShopInABrowserTellsWhereEachPartCameFrom(t *testing.T) {
	a := startApp(t, config{})
	server := httptest.NewServer(a.handler())
	defer server.Close()
	b := openBrowser(t, server.URL)
	from := func() (redis, database int) {
		parts := b.text("parts")
		return strings.Count(parts, fromRedis), strings.Count(parts, fromDatabase)
	}
	check := func(when string, wantRedis, wantDatabase int) {
		t.Helper()
		if redis, database := from(); redis != wantRedis || database != wantDatabase {
			t.Errorf("%s: %d parts from Redis and %d from the database, want %d and %d",
				when, redis, database, wantRedis, wantDatabase)
		}
	}
	b.open("/")
	check("at first", 0, 3)
	b.open("/")
	check("again", 3, 0)

	b.do(chromedp.SetValue("#cents", "1234"))
	b.click(`form[data-put$="price"] button`)
	b.await(says("price", "12.34"))
	check("after a price was changed", 0, 3)
	b.do(chromedp.SetValue("#newname", "Tea things"))
	b.click(`form[data-put$="name"] button`)
	b.await(says("category", "Tea things"))
	check("after a category was renamed", 0, 3)

	b.refuses.Store(true)
	b.do(chromedp.SetValue("#cents", "-1"))
	b.click(`form[data-put$="price"] button`)
	b.await(says("refused", "cents must be more than 0"))
}

func TestTheDashboardInABrowser(t *testing.T) {
	a := startApp(t, demoConfig())
	b := openBrowser(t, serveLive(t, a))
	b.open("/live")

	// It moves by itself.
	b.await(figure("checked") + " > 0")
	b.await(fmt.Sprintf("%s > %d", figure("checked"), b.number("checked")))
	b.await(`document.querySelectorAll("#chart-load path, #chart-latency path").length >= 5`)

	// The load.
	b.click("#load")
	b.await(says("load", "Start") + " && " + figure("reads") + " === 0")
	b.click("#load")
	b.await(says("load", "Stop") + " && " + figure("reads") + " > 0")
	b.click(`[data-do="load/quiet"]`)
	b.await(`document.querySelector('[data-do="load/quiet"]').ariaPressed === "true"`)

	// The cache: nearly all reads are queries without it, and nearly none with it.
	b.await(figure("reads") + " > 4 * " + figure("queries"))
	b.click("#cache")
	b.await(says("pill-cache", "off") + " && " + figure("queries") + " > 0.7 * " + figure("reads"))
	b.click(`[data-do="load/peak"]`)
	b.await(figure("gaveup") + " > 0") // the database drowns
	b.click(`[data-do="load/quiet"]`)
	b.click("#cache")
	b.await(says("pill-cache", "on") + " && " + figure("reads") + " > 4 * " + figure("queries"))

	// Near copies: fewer reads ask Redis than it takes without them.
	b.await(figure("commands") + " > 0.6 * " + figure("reads") + " && " + figure("reads") + " > 0")
	b.click("#nearby")
	b.await(says("nearby", "off") + ` && parseFloat(document.getElementById("near").textContent) > 50`)
	b.await(newest("Near copies are on"))
	b.await(figure("commands") + " < 0.5 * " + figure("reads") + " && " + figure("reads") + " > 4 * " + figure("queries"))
	b.click("#nearby")
	b.await(says("nearby", "on") + " && " + says("near", "0.0 %") + " && " + figure("reads") + " > 0")
	b.click("#nearby")

	// Redis.
	b.click("#redis")
	b.await(says("pill-redis", "killed") + " && " + says("hit", "0.0 %") + " && " + figure("reads") + " > 0")
	b.click(`[data-do="price/change"]`)
	b.await(says("notes", "costs"))
	b.click("#redis")
	b.await(says("pill-redis", "up") + ` && parseFloat(document.getElementById("hit").textContent) > 50`)

	// The writes.
	b.click(`[data-do="category/rename"]`)
	b.await(says("notes", "is called"))
	first := a.site.ledger.seeded[0]
	now, err := a.db.ProductByID(t.Context(), first.ID)
	if err != nil {
		t.Fatal(err)
	}
	if now.Cents == first.Cents || now.Category == first.Category {
		t.Errorf("after both buttons the database has %+v, as it was at first", now)
	}
	for _, which := range []string{"price", "name"} {
		if want := map[string]string{"price": money(now.Cents), "name": now.Category}[which]; !strings.Contains(b.text("notes"), want) {
			t.Errorf("the page does not tell of the %s %s: %s", which, want, b.text("notes"))
		}
	}

	// The checker: all of this left it at 0.
	if stale, checked := b.number("stale"), b.number("checked"); stale != 0 || checked < 100 {
		t.Errorf("%d stale of %d checked, want 0 of more than a few", stale, checked)
	}
	b.click("#invalidate")
	b.await(says("pill-invalidate", "not invalidating") + " && " + figure("stale") + " > 0")
	b.click("#invalidate")
	b.await(newest("InvalidateAll"))
	b.click("#load")
	b.await(newest("The load has stopped")) // and nothing of it is under way
	b.click(`[data-do="counters/reset"]`)
	b.await(figure("checked") + " === 0")
	b.click("#load")
	b.await(figure("checked") + " > 100")
	if stale := b.number("stale"); stale != 0 {
		t.Errorf("%d stale after all was invalidated", stale)
	}
}

func TestNoPageIsWiderThanAPhone(t *testing.T) {
	c := demoConfig()
	c.verify = 2
	b := openBrowser(t, serveLive(t, startApp(t, c)))
	b.do(chromedp.EmulateViewport(400, 800))
	check := func(page string) {
		t.Helper()
		wide, err := chromedp.Run(b.ctx, chromedp.Evaluate[int]("document.documentElement.scrollWidth"))
		if err != nil {
			t.Fatal(err)
		}
		if wide > 400 {
			t.Errorf("%s is %d pixels wide on a screen of 400", page, wide)
		}
	}
	b.open("/live")
	b.await(figure("checked") + " > 0")
	check("/live")
	b.touch("#redis")
	b.touch("#invalidate")
	b.await(says("pill-redis", "killed") + " && " + says("pill-invalidate", "not")) // the longest words
	check("/live without Redis")
	b.open("/")
	b.await(says("forgetful", "forgotten"))
	check("/")
}

func TestABrowserOfAnotherSiteCannotPressTheButtons(t *testing.T) {
	url := serveLive(t, startApp(t, config{}))
	req, err := http.NewRequest("POST", url+"/live/redis/kill", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusForbidden {
		t.Errorf("status %s", res.Status)
	}
}

var screenshots = flag.String("screenshots", "", "`directory` to write pictures of the dashboard to, for the README")

// A minute and a half at the peak: with the cache, without it, with it, without Redis, with it.
func TestScreenshots(t *testing.T) {
	if *screenshots == "" {
		t.Skip("go test ./examples/productpage -run Screenshots -screenshots ../../docs/img, where nothing else runs")
	}
	b := openBrowser(t, serveLive(t, startApp(t, config{cost: demoConfig().cost, verify: 2})))
	b.open("/live")
	b.await(figure("checked") + " > 0")
	b.touch(`[data-do="counters/reset"]`)
	for _, step := range []struct {
		seconds int
		press   string
	}{
		{14, "#cache"}, {18, "#cache"}, {12, `[data-do="price/change"]`}, {8, "#redis"}, {16, "#redis"},
		{12, `[data-do="category/rename"]`}, {10, `#checked`},
	} {
		time.Sleep(time.Duration(step.seconds) * time.Second)
		b.touch(step.press)
	}
	height, err := chromedp.Run(b.ctx, chromedp.Evaluate[int64]("document.documentElement.scrollHeight"))
	if err != nil {
		t.Fatal(err)
	}
	b.do(chromedp.EmulateViewport(1280, height))
	for _, scheme := range []string{"light", "dark"} {
		b.do(prefer(scheme))
		time.Sleep(2 * tick) // it draws
		png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(*screenshots, "productpage-"+scheme+".png"), png, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// touch clicks without a pointer, which would be seen hovering.
func (b *browser) touch(selector string) {
	b.t.Helper()
	if _, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](fmt.Sprintf("document.querySelector(%q).click(), true", selector))); err != nil {
		b.t.Fatal(err)
	}
}

// prefer sets the color scheme.
func prefer(scheme string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return err
	})
}
