package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/asidecache/aside"
)

// errBadRequest marks what the client got wrong.
var errBadRequest = errors.New("bad request")

func reply(w http.ResponseWriter, r *http.Request, body any, err error) {
	if err == nil {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(body)
		return
	}
	status := http.StatusInternalServerError
	switch {
	case errors.Is(err, sql.ErrNoRows): // from the database or from the cache, which may remember the absence
		status, err = http.StatusNotFound, errors.New("not found")
	case errors.Is(err, errBadRequest):
		status = http.StatusBadRequest
	case errors.Is(err, ErrExists):
		status = http.StatusConflict
	case errors.Is(err, aside.ErrOverloaded):
		w.Header().Set("Retry-After", "1")
		status = http.StatusServiceUnavailable
	case errors.Is(err, context.DeadlineExceeded):
		status = http.StatusGatewayTimeout
	default:
		slog.ErrorContext(r.Context(), "request failed", "method", r.Method, "path", r.URL.Path, "error", err)
		err = errors.New("internal error")
	}
	http.Error(w, err.Error(), status)
}

// These refuse what is missing or makes no sense.
var (
	errNoFeed  = fmt.Errorf("%w: there is no feed; it takes -feed and -postgres", errBadRequest)
	errNoPrice = fmt.Errorf("%w: cents must be more than 0", errBadRequest)
	errNoName  = fmt.Errorf("%w: shop, slug and name must be text, and not empty", errBadRequest)
	errNoID    = fmt.Errorf("%w: id must be more than 0", errBadRequest)
)

func queryIDs(r *http.Request) ([]int64, error) {
	fields := strings.Split(r.URL.Query().Get("ids"), ",")
	if len(fields) > maxIDs {
		return nil, fmt.Errorf("%w: more than %d ids", errBadRequest, maxIDs)
	}
	ids := make([]int64, len(fields))
	for i, field := range fields {
		var err error
		if ids[i], err = parseID(field); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

func parseID(s string) (int64, error) {
	id, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %q is no id", errBadRequest, s)
	}
	return id, nil
}

// isText reports whether a database can have s: no Postgres has a text that is not UTF-8, or with a NUL in it.
func isText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

func isName(s string) bool { return s != "" && isText(s) }

func decode(r *http.Request, into any) error {
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		return fmt.Errorf("%w: %w", errBadRequest, err)
	}
	return nil
}
