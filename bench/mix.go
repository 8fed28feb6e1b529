package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

var mixWorkload = workload{
	name:  "mix",
	title: "99 reads to 1 write, over Postgres",
	about: "64 goroutines, 5,000 rows each library (1,000 with -quick), drawn by Zipf's law. A load is a SELECT by " +
		"primary key; a write is an UPDATE and then the library's invalidation. Everything starts cached. A read " +
		"is stale if it returns an older version than was committed and invalidated before the read " +
		"began. Client, Redis and Postgres (fsync=off) share the machine's cores.",
	run: runMix,
}

const (
	mixGoroutines = 64
	mixWrites     = 100 // one in so many
)

// A blend is one slot.
type blend struct {
	perSecond float64
	p50, p99  float64 // µs of a read
	loads     float64 // per 1,000 reads
	stale     float64 // per million reads
}

func runMix(r *run) error {
	all := r.variants(func(v variant) bool { return !v.sleeps && (v.byDefault() || v.codec == "sonic") })
	rows := 5000
	if r.quick {
		rows = 1000
	}
	pool, err := r.products(len(all) * rows)
	if err != nil {
		return err
	}
	defer pool.Close()
	shops := map[string]*shop{}
	var peers []opened
	for i, v := range all {
		s := &shop{pool: pool, first: int64(i * rows), product: newProduct(0, 1<<10), written: make([]atomic.Int64, rows)}
		shops[v.String()] = s
		p, err := v.openOn(r.addr, s)
		if err != nil {
			return err
		}
		peers = append(peers, opened{variant: v, peer: p})
		err = readEach(rows, func(id int64) error {
			_, err := p.Get(r.ctx, id)
			return err
		})
		if err != nil {
			return fmt.Errorf("%v: %w", v, err)
		}
	}
	defer closeAll(peers)
	d := zipf(rows)
	reps, length := r.slots(9, 300*time.Millisecond)
	figures, err := interleave(reps, peers, func(o opened) (blend, error) {
		return r.mixSlot(o.peer, shops[o.variant.String()], d, length)
	})
	if err != nil {
		return err
	}
	r.mixTable(peers, figures)
	return nil
}

func (r *run) mixTable(peers []opened, figures [][]blend) {
	t := &table{
		columns: []string{"library", "codec", "best 1000 ops/s", "median", "× raw json", "p50 µs", "p99 µs",
			"loads in 1,000 reads", "stale in a million", "does not promise"},
		notes: []string{postgresVersion()},
	}
	c := &comparison{peers: peers}
	for _, slots := range figures {
		c.series = append(c.series, seriesOf(slots, func(b blend) float64 { return b.perSecond / 1000 }))
	}
	for i, o := range peers {
		toBase, _ := c.ratios(i)
		of := func(pick func(blend) float64) string { return figure(seriesOf(figures[i], pick).median()) }
		stale := seriesOf(figures[i], func(b blend) float64 { return b.stale })
		t.add(o.name, o.codec, figure(c.series[i].max()), figure(c.series[i].median()), ratio(toBase),
			of(func(b blend) float64 { return b.p50 }), of(func(b blend) float64 { return b.p99 }),
			of(func(b blend) float64 { return b.loads }), figure(stale.mean()), o.caveat())
	}
	r.report.print(t)
}

func (r *run) products(rows int) (*pgxpool.Pool, error) {
	pool, err := pgxpool.New(r.ctx, r.host.postgres().DSN+"&pool_max_conns=16")
	if err != nil {
		return nil, err
	}
	for _, sql := range []string{
		`CREATE TABLE product (id bigint PRIMARY KEY, version bigint NOT NULL, price bigint NOT NULL)`,
		fmt.Sprintf(`INSERT INTO product SELECT id, 1, 4999 FROM generate_series(0, %d) id`, rows-1),
		`VACUUM ANALYZE product`,
	} {
		if _, err := pool.Exec(r.ctx, sql); err != nil {
			return nil, err
		}
	}
	return pool, nil
}

// A shop is the rows of one library, from first on: another's writes would make its cache stale.
type shop struct {
	pool    *pgxpool.Pool
	first   int64
	product Product        // all but what the row has
	written []atomic.Int64 // the newest version that was committed and then invalidated
	loads   atomic.Int64
}

func (s *shop) load(ctx context.Context, id int64) (Product, error) {
	s.loads.Add(1)
	p := s.product
	p.ID = id
	err := s.pool.QueryRow(ctx, `SELECT version, price FROM product WHERE id = $1`, s.first+id).Scan(&p.Version, &p.Price)
	return p, err
}

func (s *shop) loadMany(ctx context.Context, ids []int64) (map[int64]Product, error) {
	found := make(map[int64]Product, len(ids))
	for _, id := range ids { // no workload with Postgres reads batches
		p, err := s.load(ctx, id)
		if err != nil {
			return nil, err
		}
		found[id] = p
	}
	return found, nil
}

func (s *shop) write(ctx context.Context, p peer, id int64) error {
	var version int64
	const update = `UPDATE product SET version = version + 1, price = price + 1 WHERE id = $1 RETURNING version`
	err := s.pool.QueryRow(ctx, update, s.first+id).Scan(&version)
	if err != nil {
		return err
	}
	if err := p.Invalidate(ctx, id); err != nil {
		return err
	}
	for { // two writers may come here out of order
		known := s.written[id].Load()
		if known >= version || s.written[id].CompareAndSwap(known, version) {
			return nil
		}
	}
}

func (s *shop) read(ctx context.Context, p peer, id int64) (stale bool, err error) {
	known := s.written[id].Load()
	product, err := p.Get(ctx, id)
	return err == nil && product.Version < known, err
}

func (r *run) mixSlot(p peer, s *shop, d draw, length time.Duration) (blend, error) {
	var stale, writes atomic.Int64
	loads := s.loads.Load()
	all, took, err := together(d, mixGoroutines, length, func(id int64) (bool, error) {
		if rand.IntN(mixWrites) == 0 {
			writes.Add(1)
			return false, s.write(r.ctx, p, id)
		}
		old, err := s.read(r.ctx, p, id)
		if old {
			stale.Add(1)
		}
		return true, err
	})
	if err != nil {
		return blend{}, err
	}
	reads := float64(all.n)
	return blend{
		perSecond: (reads + float64(writes.Load())) / took.Seconds(),
		p50:       micros(all.quantile(0.5)), p99: micros(all.quantile(0.99)),
		loads: float64(s.loads.Load()-loads) / reads * 1e3, stale: float64(stale.Load()) / reads * 1e6,
	}, nil
}
