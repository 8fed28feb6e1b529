package asidepg_test

import (
	"context"
	"slices"
	"testing"

	"github.com/asidecache/aside/asidepg"
)

const partitions = `
	CREATE TABLE orders (id bigint, year int, customer bigint, PRIMARY KEY (id, year)) PARTITION BY LIST (year);
	CREATE TABLE orders_1 PARTITION OF orders FOR VALUES IN (1);
	CREATE TABLE orders_2 PARTITION OF orders FOR VALUES IN (2);
	INSERT INTO orders VALUES (1, 1, 7), (2, 2, 8);
	ALTER PUBLICATION aside ADD TABLE orders;`

func (r *rig) ordersFeed() *asidepg.Feed {
	f := r.feed()
	f.On("public.orders", func(_ context.Context, c asidepg.Change) error {
		r.note(string(c.Op) + " " + sprint(c.Int64s("id")) + " of " + sprint(c.Int64s("customer")))
		return nil
	})
	return f
}

func TestAPartitionedTableIsHeardByItsRoot(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.exec(partitions + `
		ALTER TABLE orders REPLICA IDENTITY FULL; ALTER TABLE orders_1 REPLICA IDENTITY FULL; ALTER TABLE orders_2 REPLICA IDENTITY FULL`)
	r.started(r.ordersFeed())
	r.exec(`UPDATE orders SET customer = 9 WHERE id = 1`)
	r.exec(`UPDATE orders_2 SET customer = 9 WHERE id = 2`)
	r.sync()
	r.want("one write to the root, and one to a partition", "UPDATE [1] of [7 9]", "UPDATE [2] of [8 9]")
}

// A partition that is made later does not take over the replica identity of the root. The stream marks its old rows as whole all
// the same.
func TestAPartitionWithLessThanItsRootsReplicaIdentityFailsTheChange(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.exec(partitions + `
		ALTER TABLE orders REPLICA IDENTITY FULL; ALTER TABLE orders_1 REPLICA IDENTITY FULL; ALTER TABLE orders_2 REPLICA IDENTITY FULL`)
	f := r.ordersFeed()
	r.started(f)
	r.exec(`BEGIN;
		CREATE TABLE orders_3 PARTITION OF orders FOR VALUES IN (3);
		INSERT INTO orders VALUES (3, 3, 7);
		DELETE FROM orders WHERE id = 3;
		COMMIT`)
	r.until("a failure", func() bool { return f.Stats().Failures > 0 })
	for _, event := range r.seen() {
		if event == "DELETE [3] of []" {
			// The handler may see nothing, but then it does not count.
			equal(t, "transactions that are handled", f.Stats().Transactions, 0)
		}
	}
	r.forget()
	r.exec(`ALTER TABLE orders_3 REPLICA IDENTITY FULL`)
	r.exec(`INSERT INTO orders VALUES (4, 3, 8)`)
	r.untilSeen("INSERT [4] of [8]")
	equal(t, "whether a gap took the place of the change", slices.Contains(r.seen(), "gap"), true)
}

func TestChangesOfPartitionsThatAreNotStreamedAreGaps(t *testing.T) {
	for name, sql := range map[string]string{
		"truncated": `TRUNCATE orders_1`,
		"detached":  `ALTER TABLE orders DETACH PARTITION orders_1`,
		"dropped":   `DROP TABLE orders_1`,
		"attached":  `CREATE TABLE orders_3 (id bigint, year int, customer bigint, PRIMARY KEY (id, year)); ALTER TABLE orders ATTACH PARTITION orders_3 FOR VALUES IN (3)`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.exec(partitions)
			f := r.ordersFeed()
			r.started(f)
			r.sync()
			r.exec(sql)
			r.untilSeen("gap")
		})
	}
}
