package asidepg

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// A table is what the catalog says now of one that the feed has handlers for.
type table struct {
	oid         uint32
	partitioned bool
	published   bool     // under its own name
	elsewhere   string   // what is published instead: a partition of it, or the root that it is a partition of
	filtered    bool     // a row filter or a column list
	identity    string   // relreplident: d, f, i or n
	key         []string // of the replica identity, unless it is FULL
	keyless     string   // a partition without a replica identity, or one whose identity is less than FULL where the root's is FULL
	state       int64    // changes with each ALTER of the table, of its partitions or of the publication, and with a TRUNCATE of a partition
	recent      bool     // such a change may be later than the position of the slot
}

// streams reports whether a change of the table that is made now has the old value of the column.
func (t table) streams(column string) bool {
	return t.identity == "f" && t.keyless == "" || slices.Contains(t.key, column)
}

// tablesQuery asks for tables: $1 are their schemas, $2 their names, $3 is the publication, $4 the slot.
//
// The rows of the catalog about columns, about partitions and about what is published carry the transaction that wrote them (xmin). All of
// them together are the state of the table. A slot keeps the oldest transaction whose changes of the catalog its reader may not have seen
// (catalog_xmin): what was written by an older one has been handled.
const tablesQuery = `
	WITH t AS (
		SELECT n.nspname || '.' || c.relname AS name, c.oid, c.relkind, c.relispartition, c.relreplident
		FROM unnest($1::text[], $2::text[]) AS asked (schema, name)
		JOIN pg_namespace n ON n.nspname = asked.schema
		JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = asked.name AND c.relkind IN ('r', 'p')
	), tree AS (
		SELECT t.oid AS root, t.oid FROM t
		UNION
		SELECT t.oid, p.relid::oid FROM t, pg_partition_tree(t.oid) p WHERE t.relkind = 'p'
	), key AS (
		SELECT tree.root, tree.oid, array_agg(a.attname::text) FILTER (WHERE a.attname IS NOT NULL) AS columns
		FROM tree JOIN pg_class c ON c.oid = tree.oid
		LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisvalid AND i.indimmediate
			AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident END
		LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
		GROUP BY tree.root, tree.oid
	), published AS MATERIALIZED (
		SELECT c.oid FROM pg_publication_tables p JOIN pg_namespace n ON n.nspname = p.schemaname
		JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename WHERE p.pubname = $3
	), written AS (
		SELECT tree.root, a.attrelid AS rel, a.attnum AS num, a.xmin AS xid
		FROM tree JOIN pg_attribute a ON a.attrelid = tree.oid AND a.attnum > 0
		UNION ALL
		SELECT tree.root, c.oid, 0, c.xmin FROM tree JOIN pg_class c ON c.oid = tree.oid AND c.relispartition
		UNION ALL
		SELECT t.oid, p.oid, 0, p.xmin FROM t, pg_publication p WHERE p.pubname = $3
		UNION ALL
		SELECT t.oid, r.oid, 0, r.xmin FROM t JOIN pg_publication_rel r ON r.prrelid = t.oid
		JOIN pg_publication p ON p.oid = r.prpubid AND p.pubname = $3
	), state AS (
		SELECT w.root, hashtextextended(string_agg(concat_ws('.', rel, num, xid), ' ' ORDER BY rel, num), 0) AS hash,
			coalesce(bool_or(age(w.xid) BETWEEN 0 AND age(s.catalog_xmin)), false) AS recent
		FROM written w LEFT JOIN pg_replication_slots s ON s.slot_name = $4
		GROUP BY w.root
	)
	SELECT t.name, t.oid, t.relkind = 'p', t.oid IN (SELECT oid FROM published),
		coalesce((SELECT min(p.oid::regclass::text) FROM published p WHERE p.oid <> t.oid AND (
			EXISTS (SELECT FROM tree WHERE tree.root = t.oid AND tree.oid = p.oid)
			OR t.relispartition AND p.oid = pg_partition_root(t.oid))), ''),
		%s,
		t.relreplident::text,
		coalesce((SELECT columns FROM key WHERE key.root = t.oid AND key.oid = t.oid), '{}'),
		coalesce((SELECT min(c.oid::regclass::text) FROM key JOIN pg_class c ON c.oid = key.oid AND c.relkind = 'r'
			WHERE key.root = t.oid AND key.oid <> t.oid
			AND c.relreplident <> 'f' AND (key.columns IS NULL OR t.relreplident = 'f')), ''),
		state.hash, state.recent
	FROM t JOIN state ON state.root = t.oid`

// Row filters and column lists came with Postgres 15.
const (
	filteredSince15 = `EXISTS (SELECT FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
		WHERE p.pubname = $3 AND r.prrelid = t.oid AND (r.prqual IS NOT NULL OR r.prattrs IS NOT NULL))`
	filteredBefore15 = `false`
)

// tables asks for the tables of the plan, by name. A table that does not exist, or whose changes would not be streamed whole, is a
// configError.
func (r *run) tables(ctx context.Context, db *database) (map[string]table, error) {
	sql := fmt.Sprintf(tablesQuery, filteredBefore15)
	if r.version >= 150000 {
		sql = fmt.Sprintf(tablesQuery, filteredSince15)
	}
	asked := sortedNames(r.plan.tables)
	schemas, names := make([]string, len(asked)), make([]string, len(asked))
	for i, name := range asked {
		schemas[i], names[i], _ = strings.Cut(name, ".")
	}
	tables := make(map[string]table, len(asked))
	var name string
	var t table
	if err := db.rows(ctx, sql, []any{schemas, names, r.config.Publication, r.config.Slot},
		func() { tables[name] = t },
		&name, &t.oid, &t.partitioned, &t.published, &t.elsewhere, &t.filtered, &t.identity, &t.key, &t.keyless, &t.state, &t.recent,
	); err != nil {
		return nil, err
	}
	var errs []error
	for _, name := range asked {
		if t, ok := tables[name]; ok {
			errs = append(errs, r.check(name, t))
		} else {
			errs = append(errs, configErrorf("On(%q): there is no such table", name))
		}
	}
	return tables, joined(errs)
}

// check returns what keeps changes of the table from the stream.
func (r *run) check(name string, t table) error {
	q, publication := quoted(name), pgx.Identifier{r.config.Publication}.Sanitize()
	alter := "ALTER PUBLICATION " + publication
	switch {
	case !t.published && t.partitioned && t.elsewhere != "":
		return configErrorf("On(%q): the publication has the changes of this table under the names of its partitions; "+
			"type: %s SET (publish_via_partition_root = true)", name, alter)
	case !t.published && t.elsewhere != "":
		return configErrorf("On(%q): the publication has the changes of this partition under the name of its root; use On(%q)",
			name, t.elsewhere)
	case !t.published && t.partitioned:
		return configErrorf("On(%q): the table is not in the publication; type: %s ADD TABLE %s; %s SET (publish_via_partition_root = true)",
			name, alter, q, alter)
	case !t.published:
		return configErrorf("On(%q): the table is not in the publication; type: %s ADD TABLE %s", name, alter, q)
	case t.filtered:
		return configErrorf("On(%q): the publication has a row filter or a column list for this table, so the stream lacks changes; "+
			"type: %s DROP TABLE %s; %s ADD TABLE %s", name, alter, q, alter, q)
	case t.keyless != "" && t.identity == "f":
		return configErrorf("On(%q): the replica identity of this table is FULL, and that of its partition %s is not; type: ALTER TABLE %s REPLICA IDENTITY FULL",
			name, t.keyless, t.keyless)
	case t.keyless != "":
		return configErrorf("On(%q): partition %s has no replica identity; type: ALTER TABLE %s REPLICA IDENTITY FULL", name, t.keyless, t.keyless)
	case t.identity != "f" && len(t.key) == 0:
		return configErrorf("On(%q): the table has no replica identity; give it a primary key, or type: ALTER TABLE %s REPLICA IDENTITY FULL", name, q)
	}
	return nil
}

// quoted is a schema.table as SQL has it.
func quoted(name string) string {
	schema, rel, _ := strings.Cut(name, ".")
	if isPlain(schema) && isPlain(rel) {
		return name
	}
	return pgx.Identifier{schema, rel}.Sanitize()
}

func isPlain(identifier string) bool {
	for i, c := range identifier {
		if c != '_' && (c < 'a' || c > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return identifier != ""
}

// states are those of all tables, by which two looks are compared.
func states(tables map[string]table) map[uint32]int64 {
	states := make(map[uint32]int64, len(tables))
	for _, t := range tables {
		states[t.oid] = t.state
	}
	return states
}

// joined is errors.Join on one line.
func joined(errs []error) error {
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	switch len(errs) {
	case 0:
		return nil
	case 1:
		return errs[0]
	}
	var lines []string
	for _, err := range errs {
		lines = append(lines, strings.TrimPrefix(err.Error(), "asidepg: "))
	}
	slices.Sort(lines)
	return configErrorf("%s", strings.Join(lines, "; and "))
}
