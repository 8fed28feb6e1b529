package aside_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/asidecache/aside"
)

// The shape of V is a part of the version of its documents.

// A lamp as one version of a service has it, and as the next does.
type (
	lampBefore struct{ Name string }
	lampAfter  struct {
		Name  string
		Price int
	}
)

func loadsBefore(context.Context, int) (lampBefore, error) { return lampBefore{"lamp"}, nil }
func loadsAfter(context.Context, int) (lampAfter, error)   { return lampAfter{"lamp", 100}, nil }

func TestAFieldThatIsAddedMakesMissesOfTheOldEntries(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		for _, codec := range []aside.Option{nil, aside.WithCodec(stdCodec{}), aside.WithCodec(gobCodec{})} {
			before, _ := steady(r, loadsBefore, codec)
			after, _ := steady(r, loadsAfter, codec)
			again, _ := steady(r, loadsAfter, codec)
			mustGet(t, before, 1)
			mustGetMany(t, before, 2)
			equal(t, "the new field", mustGet(t, after, 1).Price+mustGetMany(t, after, 2)[2].Price, 200)
			equal(t, "the new field in a hit", mustGet(t, again, 1).Price+mustGetMany(t, again, 2)[2].Price, 200)
			equal(t, "Unusable, Loads", fmt.Sprint(after.Stats().Unusable, after.Stats().Loads, again.Stats().Loads), "2 2 0")
			r.del("test:1")
			r.del("test:2")
		}
	})
}

func TestAnAbsenceOfAnotherShapeIsAMiss(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		before, _ := steady(r, func(context.Context, int) (lampBefore, error) { return lampBefore{}, aside.ErrNotFound })
		after, _ := steady(r, loadsAfter)
		if _, err := before.Get(t.Context(), 1); err == nil {
			t.Error("there is no error")
		}
		equal(t, "the value", mustGet(t, after, 1).Price, 100)
	})
}

func TestProcessesOfOneShapeAndVersionShareEntries(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		for _, c := range []struct {
			what          string
			before, after []aside.Option
			shared        bool
		}{
			{"neither says anything", nil, nil, false},
			{"a team knows better", []aside.Option{aside.WithShape("lamp")}, []aside.Option{aside.WithShape("lamp")}, true},
			{"another shape", []aside.Option{aside.WithShape("lamp")}, []aside.Option{aside.WithShape("lamp 2")}, false},
			{"no shape", []aside.Option{aside.WithShape("")}, []aside.Option{aside.WithShape("")}, true},
			{"a shape, and none", []aside.Option{aside.WithShape("lamp")}, []aside.Option{aside.WithShape("")}, false},
			{"no shape, and another version", []aside.Option{aside.WithShape("")},
				[]aside.Option{aside.WithShape(""), aside.WithVersion(1)}, false},
			{"one shape, and another version", []aside.Option{aside.WithShape("lamp")},
				[]aside.Option{aside.WithShape("lamp"), aside.WithVersion(1)}, false},
		} {
			before, _ := steady(r, loadsBefore, c.before...)
			after, _ := steady(r, loadsAfter, c.after...)
			mustGet(t, before, 1)
			equal(t, "the name where "+c.what, mustGet(t, after, 1).Name, "lamp")
			equal(t, "whether they share entries where "+c.what, after.Stats().Loads == 0, c.shared)
			r.del("test:1")
		}
		versioned, _ := steady(r, loadsBefore, aside.WithVersion(1))
		plain, _ := steady(r, loadsBefore)
		mustGet(t, versioned, 1)
		mustGet(t, plain, 1)
		equal(t, "Loads of the same shape with another version", plain.Stats().Loads, 1)
	})
}

func TestWithoutAShapeTheVersionInTheDocumentIsWithVersion(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, _ := steady(r, loadsBefore, aside.WithShape(""), aside.WithVersion(12))
		mustGet(t, c, 1)
		if doc := r.get("test:1"); !strings.Contains(doc, `"v":12,`) {
			t.Errorf("the document is %s", doc)
		}
	})
}
