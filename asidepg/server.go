package asidepg

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A configError is what trying again does not cure, with what to type.
type configError struct{ text string }

func (e *configError) Error() string { return "asidepg: " + e.text }

func configErrorf(format string, args ...any) error {
	return &configError{fmt.Sprintf(format, args...)}
}

const oldest = 14 // the first Postgres whose pgoutput has messages

const serverQuery = `
	SELECT current_setting('server_version_num')::int, current_setting('wal_level'), p.pubname IS NOT NULL,
		coalesce(p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate, false),
		current_setting('synchronous_standby_names')
	FROM (VALUES (1)) one LEFT JOIN pg_publication p ON p.pubname = $1`

// checkServer asks for the settings of the server, and for the publication.
func (r *run) checkServer(ctx context.Context, db *database) error {
	var level, standbys string
	var exists, whole bool
	if err := db.query(ctx, serverQuery, []any{r.config.Publication}, &r.version, &level, &exists, &whole, &standbys); err != nil {
		return err
	}
	publication := pgx.Identifier{r.config.Publication}.Sanitize()
	switch {
	case r.version < oldest*10000:
		return configErrorf("the server is Postgres %d; a feed needs %d or newer", r.version/10000, oldest)
	case level != "logical":
		return configErrorf("wal_level is %s; type: ALTER SYSTEM SET wal_level = 'logical' and restart Postgres", level)
	case !exists:
		return configErrorf("there is no publication %s in this database; type: CREATE PUBLICATION %s%s", publication, publication, r.forTables())
	case !whole:
		return configErrorf("publication %s leaves out some kinds of changes; type: ALTER PUBLICATION %s SET (publish = 'insert, update, delete, truncate')",
			publication, publication)
	case isStandby(r.server.RuntimeParams["application_name"], standbys):
		return errSynchronous
	}
	return nil
}

// errSynchronous is of a feed that Postgres waits for.
var errSynchronous = configErrorf("synchronous_standby_names takes the feed for a synchronous standby: each commit would wait for the feed, " +
	"which waits for the commit; type: ALTER SYSTEM SET synchronous_standby_names = the application_name of each standby, without *")

// isStandby reports whether synchronous_standby_names lists an application_name: FIRST 1 (a, "b"), ANY 2 (*), or a, b.
func isStandby(name, standbys string) bool {
	if _, list, ok := strings.Cut(standbys, "("); ok {
		standbys = strings.TrimRight(list, ") ")
	}
	for listed := range strings.SplitSeq(standbys, ",") {
		listed = strings.Trim(strings.TrimSpace(listed), `"`)
		if listed == "*" || strings.EqualFold(listed, name) {
			return true
		}
	}
	return false
}

// forTables is the end of CREATE PUBLICATION.
func (r *run) forTables() string {
	var tables []string
	for _, name := range sortedNames(r.plan.tables) {
		tables = append(tables, quoted(name))
	}
	if len(tables) == 0 {
		return ""
	}
	return " FOR TABLE " + strings.Join(tables, ", ") + " WITH (publish_via_partition_root = true)"
}

// checkSlot returns what keeps the feed from a slot that exists.
func (r *run) checkSlot(s slot) error {
	name := r.config.Slot
	switch {
	case !s.exists:
		return nil
	case s.plugin != "pgoutput":
		return configErrorf("slot %s is of the plugin %q and not of pgoutput; use another name, or type: SELECT pg_drop_replication_slot('%s')", name, s.plugin, name)
	case !s.here:
		return configErrorf("slot %s is of the database %q; slots of all databases share their names: use another one", name, s.database)
	case s.twoPhase:
		return configErrorf("slot %s was made with two_phase, whose changes come before they are committed; type: SELECT pg_drop_replication_slot('%s'), and the feed makes another one", name, name)
	case s.synchronous:
		return errSynchronous
	}
	return nil
}

// explained adds what to type to errors of Postgres that are not cured by trying again.
func (r *run) explained(err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	text := strings.TrimSpace(pg.Message + " " + pg.Detail)
	switch {
	case strings.HasPrefix(pg.Code, "28") && strings.Contains(pg.Message, "replication role"), pg.Code == insufficientPriv:
		return configErrorf("%s; type: ALTER ROLE %s REPLICATION (on Amazon RDS: GRANT rds_replication TO %s)", text,
			pgx.Identifier{r.server.User}.Sanitize(), pgx.Identifier{r.server.User}.Sanitize())
	case pg.Code == "53400": // all slots are in use
		return configErrorf("%s; type: ALTER SYSTEM SET max_replication_slots = 20 and restart Postgres, or drop a slot that nobody uses", text)
	case strings.HasPrefix(pg.Code, "28"), pg.Code == "3D000":
		return configErrorf("%s", text)
	}
	return err
}
