package engine

import (
	"database/sql"
	"errors"
	"fmt"
)

// A notFoundError says that there is no row. It is made of every way to say so: errors.Is holds for it with ErrNotFound,
// sql.ErrNoRows and each of WithNotFound, whether the absence was loaded, joined or remembered, in this process or in another.
//
// An absence that was loaded wraps the loader's error. Redis remembers that there is no row, and not in which words that
// was said, so a remembered absence wraps what WithNotFoundFunc makes of its key, or nothing.
type notFoundError struct {
	cause error   // nil if nobody has an error for it
	also  []error // WithNotFound
	cache string  // "" for ErrNotFound itself
	name  string  // the Redis key
}

// Error makes the text only when it is asked for: most absences are compared, and never printed.
func (e *notFoundError) Error() string {
	switch {
	case e.cause != nil:
		return e.cause.Error()
	case e.cache != "":
		return fmt.Sprintf("aside: not found: cache %q has no row for %q", e.cache, e.name)
	default:
		return "aside: not found"
	}
}

func (e *notFoundError) Unwrap() error { return e.cause }

// Is answers for a target that means itself that there is no row, as pgx.ErrNoRows does by wrapping sql.ErrNoRows: the
// loader may have returned it, and nobody remembers whether it did. It also answers for what an error of WithNotFound wraps.
func (e *notFoundError) Is(target error) bool {
	if errors.Is(target, sql.ErrNoRows) { // as every notFoundError is, which ends the question if target is one
		return true
	}
	for _, err := range e.also {
		if errors.Is(err, target) || errors.Is(target, err) {
			return true
		}
	}
	return false
}

// A retold error is what the loader said, and also what WithNotFoundFunc has for the key. A caller
// that knows only the second must not depend on whether the absence is remembered. The second may
// say more than the first also where the func recognizes the first.
type retold struct {
	error
	remembered error
}

func (r retold) Unwrap() []error { return []error{r.error, r.remembered} }

// Classify turns every way to say that there is no row into an error that answers for all of them. It runs the user's code.
func (c *Core) Classify(w *Want, isNil bool, err error) error {
	switch {
	case err == nil && isNil:
		return c.Absence(w.Name, c.edge.Remembered(w))
	case err != nil && c.IsNotFound(err):
		return c.absenceBy(w, err)
	default:
		return err
	}
}

// Absence is the error for a key without a row, where the loader's is not known or there was none. remembered is the user's for
// that key, nil if none.
func (c *Core) Absence(name string, remembered error) error {
	return &notFoundError{cause: remembered, also: c.Config.NotFound, cache: c.Name, name: name}
}

// absenceBy is the error for a key that has no row, as the loader said with cause.
func (c *Core) absenceBy(w *Want, cause error) error {
	if err := c.edge.Remembered(w); err != nil {
		cause = retold{cause, err}
	}
	return &notFoundError{cause: cause, also: c.Config.NotFound}
}

// IsNotFound reports whether an error of the loader means that there is no row.
func (c *Core) IsNotFound(err error) bool {
	for _, sentinel := range c.notFound {
		if errors.Is(err, sentinel) {
			return true
		}
	}
	return c.Config.NotFoundIs != nil && c.Config.NotFoundIs(err)
}

// isAbsence reports whether err was made by classify. It does not run the user's code, as isNotFound does.
func isAbsence(err error) bool {
	_, ok := err.(*notFoundError)
	return ok
}

// Missing is the error for a key without a row. said is what the batch loader said of such keys: nil or a not found.
func (c *Core) Missing(w *Want, stray string, said error) error {
	switch {
	case stray != "":
		return fmt.Errorf(
			"aside: the batch loader of cache %q returned no row for %q, but one for %q, which nobody asked for: "+
				"if that is the same key, spell it alike, or fold it with WithKey", c.Name, w.Name, stray)
	case said != nil:
		return c.absenceBy(w, said)
	default:
		return c.Absence(w.Name, c.edge.Remembered(w))
	}
}
