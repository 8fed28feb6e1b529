package asidetest_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/asidetest"
)

// onBoth runs a test outside a synctest bubble and inside one.
func onBoth(t *testing.T, test func(t *testing.T)) {
	t.Run("real time", test)
	t.Run("bubble", func(t *testing.T) { synctest.Test(t, test) })
}

// coherent returns the assertion about a write of product 1, which is in category 7.
func coherent(s *Shop, write func(ctx context.Context) error) func(t testing.TB) {
	return func(t testing.TB) {
		asidetest.Coherent(t, write, asidetest.Of(s.products, 1), asidetest.Of(s.lists, 7))
	}
}

func TestAWriteThatInvalidatesAfterItsCommitIsCoherent(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		s := newShop(t)
		passes(t, coherent(s, func(ctx context.Context) error {
			tx := s.db.Begin()
			tx.SetCents(1, 100)
			tx.Commit()
			return errors.Join(s.products.Invalidate(ctx, 1), s.lists.Invalidate(ctx, 7))
		}))
	})
}

func TestAWriteInTxIsCoherent(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		s := newShop(t)
		passes(t, coherent(s, func(ctx context.Context) error { return s.SetPrice(ctx, 1, 100) }))
		passes(t, coherent(s, func(ctx context.Context) error { return s.SetPrice(ctx, 1, 200) })) // again
	})
}

func TestAForgottenInvalidateIsFound(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		s := newShop(t)
		write := func(cents int) func(ctx context.Context) error {
			return func(ctx context.Context) error {
				tx := s.db.Begin()
				tx.SetCents(1, cents)
				tx.Commit()
				return s.products.Invalidate(ctx, 1)
			}
		}
		finds(t, coherent(s, write(100)), "list:7", "does not Invalidate", "invalidated product:1",
			"[0].Cents: cache 3990, loader 100")
		finds(t, coherent(s, write(200)), "[0].Cents: cache 100, loader 200") // what was wrong has been mended
	})
}

func TestAWriteThatInvalidatesNothingIsFound(t *testing.T) {
	s := newShop(t)
	r := record(t, coherent(s, func(context.Context) error {
		tx := s.db.Begin()
		tx.SetCents(1, 100)
		tx.Commit()
		return nil
	}))
	if len(r.failures) != 2 {
		t.Errorf("%d failures, want one for each entry", len(r.failures))
	}
}

func TestAnInvalidateBeforeTheCommitIsFound(t *testing.T) {
	asidetest.LongMoments(t)
	onBoth(t, func(t *testing.T) {
		s := newShop(t)
		finds(t, coherent(s, func(ctx context.Context) error {
			tx := s.db.Begin()
			tx.SetCents(1, 100)
			if err := s.products.Invalidate(ctx, 1); err != nil {
				return err
			}
			tx.Commit()
			return s.lists.Invalidate(ctx, 7)
		}), "product:1", "too early", "InTx", ".Cents: cache 3990, loader 100")
	})
}

func TestAnInvalidateAllBeforeTheCommitIsFound(t *testing.T) {
	asidetest.LongMoments(t)
	s := newShop(t)
	finds(t, coherent(s, func(ctx context.Context) error {
		tx := s.db.Begin()
		tx.SetCents(1, 100)
		if err := s.lists.InvalidateAll(ctx); err != nil {
			return err
		}
		tx.Commit()
		return s.products.Invalidate(ctx, 1)
	}), "list:7", "too early")
}

func TestACommitAfterInTxIsFound(t *testing.T) {
	asidetest.LongMoments(t)
	s := newShop(t)
	finds(t, func(t testing.TB) {
		write := commitAfterInTx(s, func(ctx context.Context) error { return s.products.Invalidate(ctx, 1) })
		asidetest.Coherent(t, write, asidetest.Of(s.products, 1))
	}, "product:1", "too early")
}

func TestACommitAfterInTxWithInvalidateAllIsFound(t *testing.T) {
	asidetest.LongMoments(t)
	s := newShop(t)
	finds(t, func(t testing.TB) {
		asidetest.Coherent(t, commitAfterInTx(s, s.lists.InvalidateAll), asidetest.Of(s.lists, 7))
	}, "list:7", "too early")
}

func commitAfterInTx(s *Shop, invalidate func(ctx context.Context) error) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		tx := s.db.Begin()
		err := aside.InTx(ctx, func(ctx context.Context) error {
			tx.SetCents(1, 100)
			return invalidate(ctx)
		})
		tx.Commit()
		return err
	}
}

func TestAWriteInTxOfTheWrongTagIsFound(t *testing.T) {
	cents := 100
	tagged := aside.WithTags(func(int64, int) []string { return []string{"kettles"} })
	c, _ := asidetest.New(t, func(context.Context, int64) (int, error) { return cents, nil }, patient, tagged)
	finds(t, func(t testing.TB) {
		asidetest.Coherent(t, func(ctx context.Context) error {
			return aside.InTx(ctx, func(ctx context.Context) error {
				cents = 200
				return c.InvalidateTags(ctx, "lamps")
			})
		}, asidetest.Of(c, 1))
	}, "does not Invalidate test:1", `tags ["lamps"]`)
}

func TestTheRightWritesOfRowsThatComeAndGoAreCoherent(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		s := newShop(t)
		passes(t, func(t testing.TB) {
			asidetest.Coherent(t, func(ctx context.Context) error {
				tx := s.db.Begin()
				tx.Put(Product{ID: 4, Category: 8})
				tx.Delete(1)
				tx.Commit()
				return errors.Join(s.products.Invalidate(ctx, 1, 4), s.lists.Invalidate(ctx, 7, 8))
			}, asidetest.Of(s.products, 1, 4), asidetest.Of(s.lists, 7, 8))
		})
	})
}

// Each entry is read from the loader then, whatever the write has forgotten.
func TestAWriteUnderAReplicaLagProvesNothing(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		s := newShop(t, aside.WithReplicaLag(time.Minute))
		early := func(ctx context.Context) error {
			tx := s.db.Begin()
			tx.SetCents(1, 100)
			if err := s.products.Invalidate(ctx, 1); err != nil {
				return err
			}
			tx.Commit()
			return nil
		}
		finds(t, func(t testing.TB) { asidetest.Coherent(t, early, asidetest.Of(s.products, 1)) },
			"key 1 nothing was proved", "WithReplicaLag(1m0s)", "test it without")
	})
}

func TestAForgottenInvalidateUnderAReplicaLagIsFound(t *testing.T) {
	s := newShop(t, aside.WithReplicaLag(time.Minute))
	finds(t, func(t testing.TB) {
		asidetest.Coherent(t, func(context.Context) error {
			tx := s.db.Begin()
			tx.SetCents(1, 100)
			tx.Commit()
			return nil
		}, asidetest.Of(s.products, 1))
	}, "does not Invalidate product:1")
}

func TestAWriteThatTakesLongerThanTheTTLProvesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, aside.WithTTL(time.Second))
		forgets := func(context.Context) error {
			tx := s.db.Begin()
			tx.SetCents(1, 100)
			time.Sleep(2 * time.Second)
			tx.Commit()
			return nil
		}
		finds(t, func(t testing.TB) { asidetest.Coherent(t, forgets, asidetest.Of(s.products, 1)) },
			"key 1 nothing was proved", "took 2s", "longer TTL")
		slow := func(ctx context.Context) error { return errors.Join(forgets(ctx), s.products.Invalidate(ctx, 1)) }
		passes(t, func(t testing.TB) { asidetest.Coherent(t, slow, asidetest.Of(s.products, 1)) })
	})
}

func TestAHandleOfATransactionThatTheLoaderSharesIsNamed(t *testing.T) {
	var busy error
	c, _ := asidetest.New(t, func(context.Context, int64) (int, error) { return 1, busy }, patient)
	write := func(ctx context.Context) error { busy = errors.New("conn busy"); return c.Invalidate(ctx, 1) }
	finds(t, func(t testing.TB) { asidetest.Coherent(t, write, asidetest.Of(c, 1)) },
		"conn busy", "handle of a transaction", "give it the pool")
}

func TestTagsAreNamedOnceAndAsGiven(t *testing.T) {
	cents := 100
	tagged := aside.WithTags(func(int64, int) []string { return []string{"kettles"} })
	c, _ := asidetest.New(t, func(context.Context, int64) (int, error) { return cents, nil }, patient, tagged)
	r := record(t, func(t testing.TB) {
		asidetest.Coherent(t, func(ctx context.Context) error {
			return aside.InTx(ctx, func(ctx context.Context) error {
				cents = 200
				return c.InvalidateTags(ctx, "big lamps")
			})
		}, asidetest.Of(c, 1))
	})
	if len(r.failures) != 1 || strings.Count(r.failures[0], `tags ["big lamps"]`) != 1 || strings.Count(r.failures[0], "lamps") != 1 {
		t.Errorf("it does not name the tag once, as it was given: %q", r.failures)
	}
}

func TestARememberedAbsenceAfterAnInsertIsFound(t *testing.T) {
	s := newShop(t)
	finds(t, func(t testing.TB) {
		asidetest.Coherent(t, func(context.Context) error {
			tx := s.db.Begin()
			tx.Put(Product{ID: 4, Name: "cup"})
			tx.Commit()
			return nil
		}, asidetest.Of(s.products, 4))
	}, "product:4", "cache:  no row", "cup", "does not Invalidate")
}

func TestADeletedRowThatIsStillCachedIsFound(t *testing.T) {
	s := newShop(t)
	finds(t, func(t testing.TB) {
		asidetest.Coherent(t, func(context.Context) error {
			tx := s.db.Begin()
			tx.Delete(1)
			tx.Commit()
			return nil
		}, asidetest.Of(s.products, 1))
	}, "product:1", "kettle", "loader: no row")
}

func TestAnAbsenceThatIsNotRememberedNeedsNoInvalidate(t *testing.T) {
	s := newShop(t, aside.WithAbsentTTL(0))
	passes(t, func(t testing.TB) {
		asidetest.Coherent(t, func(context.Context) error {
			tx := s.db.Begin()
			tx.Put(Product{ID: 4, Name: "cup"})
			tx.Commit()
			return nil
		}, asidetest.Of(s.products, 4))
	})
}

func TestAnInvalidateOfTheWrongKeyIsFound(t *testing.T) {
	s := newShop(t)
	finds(t, func(t testing.TB) {
		asidetest.Coherent(t, func(ctx context.Context) error {
			tx := s.db.Begin()
			tx.SetCents(1, 100)
			tx.Commit()
			return s.products.Invalidate(ctx, 2)
		}, asidetest.Of(s.products, 1))
	}, "does not Invalidate product:1. It invalidated product:2")
}

func TestAWriteThatHasNothingToDoWithTheEntriesIsFound(t *testing.T) {
	s := newShop(t)
	finds(t, coherent(s, func(ctx context.Context) error { return s.SetPrice(ctx, 3, 100) }),
		"nothing was tested", "product:3, list:8")
	finds(t, coherent(s, func(ctx context.Context) error { return nil }), "nothing was tested", "invalidated nothing")
}

func TestAWriteThatRollsBackIsCoherent(t *testing.T) {
	s := newShop(t)
	rolledBack := errors.New("rolled back")
	passes(t, coherent(s, func(ctx context.Context) error {
		err := aside.InTx(ctx, func(ctx context.Context) error {
			s.db.Begin().SetCents(1, 100)
			return errors.Join(s.products.Invalidate(ctx, 1), rolledBack)
		})
		if !errors.Is(err, rolledBack) {
			return err
		}
		return nil
	}))
}

func TestAnInvalidateWithAnotherCtxPassesWhenItIsInTime(t *testing.T) {
	s := newShop(t)
	write := func(cents int) func(context.Context) error {
		return func(context.Context) error {
			tx := s.db.Begin()
			tx.SetCents(1, cents)
			tx.Commit()
			return errors.Join(s.products.Invalidate(context.Background(), 1), s.lists.Invalidate(context.Background(), 7))
		}
	}
	passes(t, coherent(s, write(100)))
	passes(t, coherent(s, write(100))) // which changes nothing
}

func TestAWriteThatFailsStopsTheTest(t *testing.T) {
	s := newShop(t)
	r := record(t, coherent(s, func(context.Context) error { return errors.New("deadlock detected") }))
	if !r.stopped || len(r.failures) != 1 {
		t.Errorf("stopped: %v, failures: %q", r.stopped, r.failures)
	}
}

func TestWhatIsNotCachedBeforeTheWriteStopsTheTest(t *testing.T) {
	server := asidetest.Redis(t)
	s := NewShop(t, server.Client(), aside.WithLogger(slog.New(slog.DiscardHandler)))
	write := func(ctx context.Context) error { return s.SetPrice(ctx, 1, 100) }
	server.Fail("LOADING it")
	finds(t, coherent(s, write), "key 1 is not cached: Redis is down")
	finds(t, func(t testing.TB) { asidetest.Coherent(t, write) }, "needs the keys")
}

func TestAFailingLoaderIsTold(t *testing.T) {
	broken := errors.New("connection reset")
	var err error
	c, _ := asidetest.New(t, func(_ context.Context, id int64) (int64, error) { return id, err }, patient)
	write := func(ctx context.Context) error { err = broken; return c.Invalidate(ctx, 1) }
	finds(t, func(t testing.TB) { asidetest.Coherent(t, write, asidetest.Of(c, 1)) }, "after the write", "key 1", "connection reset")
	finds(t, func(t testing.TB) { asidetest.Coherent(t, write, asidetest.Of(c, 1)) }, "before the write", "connection reset")
}

// A fake repository often is a map with a mutex, which a careless write still holds when it invalidates.
func TestAWriteThatLocksTheLoaderOutIsNotHeldUp(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		var mu sync.Mutex
		cents := 100
		c, _ := asidetest.New(t, func(context.Context, int64) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			return cents, nil
		}, patient)
		passes(t, func(t testing.TB) {
			asidetest.Coherent(t, func(ctx context.Context) error {
				mu.Lock()
				defer mu.Unlock()
				cents = 200
				return c.Invalidate(ctx, 1)
			}, asidetest.Of(c, 1))
		})
	})
}

func TestASlowLoaderIsNoMistake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cents = 100
		c, _ := asidetest.New(t, func(context.Context, int64) (int, error) {
			time.Sleep(time.Second)
			return cents, nil
		})
		passes(t, func(t testing.TB) {
			asidetest.Coherent(t, func(ctx context.Context) error {
				cents = 200
				return c.Invalidate(ctx, 1)
			}, asidetest.Of(c, 1))
		})
	})
}

func TestWhatOnlyTheCodecChangesIsNoStaleValue(t *testing.T) {
	type row struct {
		Cents int
		Note  string `json:"-"`
	}
	v := row{100, "a"}
	c, _ := asidetest.New(t, func(context.Context, int64) (row, error) { return v, nil }, patient)
	passes(t, func(t testing.TB) {
		asidetest.Coherent(t, func(ctx context.Context) error { v.Note = "b"; return nil }, asidetest.Of(c, 1))
	})
	finds(t, func(t testing.TB) {
		asidetest.Coherent(t, func(ctx context.Context) error { v.Cents = 200; return nil }, asidetest.Of(c, 1))
	}, ".Cents: cache 100, loader 200", "does not Invalidate")
}

// Only what the write has changed is told, and nothing of what it comes from: nothing is lost.
func TestWhatTheCodecChangesIsLeftOutOfWhatIsOld(t *testing.T) {
	type row struct {
		Note string `json:"-"`
		At   time.Time
	}
	v := row{"a", time.Unix(1, 5e6).UTC()}
	c, _ := asidetest.New(t, func(context.Context, int64) (row, error) { return v, nil }, patient)
	r := record(t, func(t testing.TB) {
		asidetest.Coherent(t, func(context.Context) error { v.At = v.At.Add(time.Millisecond); return nil }, asidetest.Of(c, 1))
	})
	if len(r.failures) != 1 {
		t.Fatalf("%d failures: %q", len(r.failures), r.failures)
	}
	told, _, _ := strings.Cut(r.failures[0], "\n\tcache:  ")
	if !strings.Contains(told, "key 1)\n\t.At: cache ") || strings.Contains(told, "Note") || strings.Contains(told, "apart") || strings.Contains(told, "digits") {
		t.Errorf("it tells more than that .At is old: %s", told)
	}
}

func TestALoaderThatReturnsDifferentThingsIsNotTakenForAStaleValue(t *testing.T) {
	n := 0
	var mu sync.Mutex
	c, _ := asidetest.New(t, func(context.Context, int64) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		n++
		return n, nil
	}, patient)
	finds(t, func(t testing.TB) {
		asidetest.Coherent(t, func(ctx context.Context) error { return c.Invalidate(ctx, 1) }, asidetest.Of(c, 1))
	}, "see Deterministic")
}
