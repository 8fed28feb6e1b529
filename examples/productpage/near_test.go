package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func (c *client) front() string {
	c.t.Helper()
	res, err := http.Get(c.url + "/")
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(body)
}

func TestAPageTellsWhatCameFromMemoryAndShowsWhatIsWritten(t *testing.T) {
	a := startApp(t, config{near: 1000})
	c := &client{t: t, url: serveLive(t, a)}
	fromNear := func(page string) int { return strings.Count(page, `class="from memory"`) }
	c.front()
	if page := c.front(); fromNear(page) != 0 {
		t.Errorf("near copies are off, and %d parts came from memory", fromNear(page))
	}
	c.do("POST", "/live/near/on", "", http.StatusOK, nil)
	warm := func(want string) {
		t.Helper()
		for give := time.Now().Add(time.Minute); time.Now().Before(give); time.Sleep(time.Millisecond) {
			page := c.front()
			if !strings.Contains(page, want) {
				t.Fatalf("the page does not show %s", want)
			}
			if fromNear(page) == 3 {
				return
			}
		}
		t.Fatal("in a minute no page came from memory")
	}
	warm("")
	for asked := true; asked; { // by the loop that keeps copies current, now and then
		before := a.sent.commands.Load()
		warm("")
		asked = a.sent.commands.Load() > before
	}
	c.do("PUT", "/products/1/price", `{"cents": 4711}`, http.StatusOK, nil)
	if page := c.front(); fromNear(page) != 0 || !strings.Contains(page, "47.11") {
		t.Errorf("after a write, %d parts came from memory", fromNear(page))
	}
	warm("47.11")
	c.do("PUT", "/categories/1/name", `{"name": "Tea things"}`, http.StatusOK, nil)
	warm("Tea things")

	c.do("POST", "/live/near/off", "", http.StatusOK, nil)
	if page := c.front(); fromNear(page) != 0 {
		t.Errorf("near copies are off again, and %d parts came from memory", fromNear(page))
	}
}

func TestWithoutNearCopiesThereIsNoButtonForThem(t *testing.T) {
	c := &client{t: t, url: serveLive(t, startApp(t, config{}))}
	c.do("POST", "/live/near/on", "", http.StatusBadRequest, nil)
	res, err := http.Get(c.url + "/live")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if page, _ := io.ReadAll(res.Body); strings.Contains(string(page), `id="nearby"`) {
		t.Error("there is one")
	}
}

// The checker looks at reads from memory as at any others.
func TestALoadWithNearCopiesSeesNothingStale(t *testing.T) {
	a := startApp(t, config{near: 1000})
	a.site.near.Store(true)
	aLoadSeesNothingStale(t, a)
	if a.lookups().near == 0 {
		t.Error("no read was answered from memory")
	}
}
