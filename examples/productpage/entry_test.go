package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// page returns the text of a page.
func (c *client) page(path string) (status int, text string) {
	c.t.Helper()
	res, err := http.Get(c.url + path)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// Each part of the page of a product has a link to what Redis holds of it: the row itself, or what is sealed.
func TestAnEntryIsShownAsRedisHoldsIt(t *testing.T) {
	for _, seal := range []bool{false, true} {
		a, err := newApp(t.Context(), config{seal: seal})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(a.close)
		c := serveApp(t, a)
		first := a.site.ledger.seeded[0]
		key := "product_by_slug:" + first.Shop + "," + first.Slug
		c.page("/")
		_, front := c.page("/")
		if !strings.Contains(front, `href="/entries/`+key) {
			t.Errorf("the page has no link to %s: %s", key, front)
		}
		status, text := c.page("/entries/" + key)
		if status != http.StatusOK || strings.Contains(text, first.Name) == seal || strings.Contains(text, `"sealed":`) != seal {
			t.Errorf("sealed %v: %d %s", seal, status, text)
		}
		if status, _ := c.page("/entries/somebody:elses"); status != http.StatusNotFound {
			t.Errorf("the key of somebody else has status %d", status)
		}
		if _, text := c.page("/entries/product:99"); !strings.Contains(text, "(nil)") {
			t.Errorf("an entry that is not there is shown as %s", text)
		}
	}
}
