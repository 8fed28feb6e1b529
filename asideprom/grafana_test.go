package asideprom_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/asidecache/aside/asideprom/internal/query"
)

// A dashboard whose expressions ask for names that nobody exports is empty, and says nothing.

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

type dashboard struct {
	Templating struct {
		List []struct{ Definition string }
	}
	Panels []struct {
		Title   string
		Targets []struct{ Expr string }
	}
}

// expressions returns those of the dashboard and of the alert rules, by where they are.
func expressions(t *testing.T) map[string][]string {
	var d dashboard
	if err := json.Unmarshal([]byte(read(t, "../docs/grafana/aside.json")), &d); err != nil {
		t.Fatal(err)
	}
	found := make(map[string][]string)
	for _, v := range d.Templating.List {
		if v.Definition != "" {
			found["a variable"] = append(found["a variable"], v.Definition)
		}
	}
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			found[p.Title] = append(found[p.Title], target.Expr)
		}
	}
	for _, rule := range strings.Split(read(t, "../docs/grafana/alerts.yaml"), "- alert: ")[1:] {
		name, rest, _ := strings.Cut(rule, "\n")
		_, expr, _ := strings.Cut(rest, "expr: ")
		expr, _, _ = strings.Cut(expr, "\n")
		found[name] = append(found[name], expr)
	}
	return found
}

var (
	nameIn     = regexp.MustCompile(`\baside_[a-z_]+`)
	selectorIn = regexp.MustCompile(`(aside_[a-z_]+)\{([^}]*)\}`)
	labelIn    = regexp.MustCompile(`([a-z]+)(=~|!~|!=|=)"([^"]*)"`)
	byIn       = regexp.MustCompile(`by \(([^)]*)\)`)
)

// family returns what exports a name: a histogram has a bucket, a sum and a count for each.
func (f families) family(name string) (*dto.MetricFamily, bool) {
	if family, ok := f[name]; ok {
		return family, family.GetType() != dto.MetricType_HISTOGRAM && family.GetType() != dto.MetricType_SUMMARY
	}
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		base, is := strings.CutSuffix(name, suffix)
		family, ok := f[base]
		switch {
		case !is || !ok:
		case family.GetType() == dto.MetricType_HISTOGRAM:
			return family, true
		case family.GetType() == dto.MetricType_SUMMARY:
			return family, suffix != "_bucket"
		}
	}
	return nil, false
}

// values are those that a label has, nil if there is no such label.
func values(family *dto.MetricFamily, label string) (found []string) {
	for _, m := range family.GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetName() == label {
				found = append(found, l.GetValue())
			}
		}
	}
	return found
}

func TestEveryExpressionAsksForWhatIsExported(t *testing.T) {
	c, _ := everything(t)
	f := scrape(t, c)
	asked := make(map[string]bool)
	for where, all := range expressions(t) {
		for _, expr := range all {
			for _, name := range nameIn.FindAllString(expr, -1) {
				family, ok := f.family(name)
				if !ok {
					t.Errorf("%s asks for %s, which is not exported", where, name)
					continue
				}
				asked[family.GetName()] = true
				for _, by := range byIn.FindAllStringSubmatch(expr, -1) {
					for label := range strings.SplitSeq(by[1], ", ") {
						known := values(family, label) != nil || label == "le" && strings.HasSuffix(name, "_bucket")
						// what a sum has no label for is a sum over all: only the dashboard's own reads beside loads may be
						if !known && !strings.Contains(expr, "sum(") {
							t.Errorf("%s: %s has no label %s", where, name, label)
						}
					}
				}
			}
			for _, selector := range selectorIn.FindAllStringSubmatch(expr, -1) {
				family, _ := f.family(selector[1])
				for _, m := range labelIn.FindAllStringSubmatch(selector[2], -1) {
					if known := values(family, m[1]); m[3] != "$cache" && !slices.ContainsFunc(strings.Split(m[3], "|"), func(v string) bool {
						return slices.Contains(known, v)
					}) {
						t.Errorf("%s: %s has no %s of %s, but %v", where, selector[1], m[1], m[3], known)
					}
				}
			}
		}
	}
	for name := range f {
		if !asked[name] {
			t.Errorf("nobody asks for %s", name)
		}
	}
}

// Each panel shows something once everything has happened, and each rule can be evaluated.
func TestEveryExpressionHasAnAnswer(t *testing.T) {
	c, cache := everything(t)
	store, at := query.NewStore(), time.Now()
	for i := range 2 {
		if err := store.Add(at.Add(time.Duration(i)*10*time.Second), strings.NewReader(scrapeText(t, c))); err != nil {
			t.Fatal(err)
		}
		use(t, cache)
	}
	for where, all := range expressions(t) {
		for _, expr := range all {
			if strings.HasPrefix(expr, "label_values(") {
				continue
			}
			e, err := query.Parse(expr)
			if err != nil {
				t.Errorf("%s: %v", where, err)
				continue
			}
			results := query.Eval(e, store, at.Add(10*time.Second), 10*time.Second)
			if !strings.HasPrefix(where, "Aside") && len(results) == 0 {
				t.Errorf("%s: %s shows nothing", where, expr)
			}
		}
	}
}
