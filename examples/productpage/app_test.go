package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/internal/testserver"
	"github.com/redis/go-redis/v9/logging"
)

func TestMain(m *testing.M) {
	logging.Disable()
	requestTimeout = time.Minute // a busy machine is no finding
	os.Exit(m.Run())
}

// TestOnEachBackend runs what the database or Redis may do differently on those that the program brings along, and on
// real servers.
func TestOnEachBackend(t *testing.T) {
	tests := []struct {
		name string
		run  func(t *testing.T, a *app)
	}{
		{"EveryReadIsServedFromTheCache", everyReadIsServedFromTheCache},
		{"EveryReadSeesAPriceSetBefore", everyReadSeesAPriceSetBefore},
		{"BothListsSeeAProductMoved", bothListsSeeAProductMoved},
		{"EveryReadSeesAProductAddedWhoseAbsenceWasRemembered", everyReadSeesAProductAddedWhoseAbsenceWasRemembered},
		{"EveryReadSeesACategoryRenamed", everyReadSeesACategoryRenamed},
		{"ACategoryCountsItsProducts", aCategoryCountsItsProducts},
		{"WhatIsReadWhileAWriteCommitsIsNotRemembered", whatIsReadWhileAWriteCommitsIsNotRemembered},
		{"MovesOfOneProductAtOnceLeaveEveryListRight", movesOfOneProductAtOnceLeaveEveryListRight},
		{"WhatDoesNotExistIsNotFound", whatDoesNotExistIsNotFound},
		{"WhatIsNoTextIsNotFound", whatIsNoTextIsNotFound},
		{"ALoadSeesNothingStale", aLoadSeesNothingStale},
	}
	t.Run("Embedded", func(t *testing.T) {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				test.run(t, startApp(t, config{}))
			})
		}
	})
	t.Run("Servers", func(t *testing.T) {
		postgres := testserver.Postgres(t)
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				redis := testserver.Redis(t)
				test.run(t, startApp(t, config{redis: redis.Addr, postgres: ownSchema(t, postgres.DSN)}))
			})
		}
	})
}

func startApp(t *testing.T, cfg config) *app {
	t.Helper()
	if cfg.options == nil {
		cfg.options = []aside.Option{aside.WithRedisTimeout(time.Minute)} // nor is it a Redis that does not answer
	}
	a, err := newApp(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.close)
	return a
}

// ownSchema makes a schema for the test, in a database that others may use too, and returns dsn for it.
func ownSchema(t *testing.T, dsn string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	schema := "productpage_test_" + strings.ToLower(rand.Text())
	if _, err := db.ExecContext(t.Context(), `CREATE SCHEMA `+schema); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := db.ExecContext(context.Background(), `DROP SCHEMA `+schema+` CASCADE`); err != nil {
			t.Error(err)
		}
		db.Close()
	})
	query := u.Query()
	query.Set("search_path", schema)
	u.RawQuery = query.Encode()
	return u.String()
}
