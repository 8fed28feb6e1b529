package asidepg

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// queryTimeout bounds each query except the one that makes a slot, which waits for transactions.
const queryTimeout = 10 * time.Second

// configured adds to the user's configuration what both connections of a feed need.
func configured(c *pgx.ConnConfig) *pgx.ConnConfig {
	c = c.Copy()
	if c.ValidateConnect == nil { // no target_session_attrs
		c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary
	}
	if c.RuntimeParams["application_name"] == "" {
		host, _ := os.Hostname()
		c.RuntimeParams["application_name"] = fmt.Sprintf("asidepg %.40s %d", host, os.Getpid())
	}
	for name, value := range map[string]string{
		"search_path": "pg_catalog", "statement_timeout": "0", "lock_timeout": "0", "idle_session_timeout": "0",
		// How values are written does not depend on the role's settings.
		"datestyle": "ISO", "intervalstyle": "postgres", "extra_float_digits": "3", "timezone": "UTC", "bytea_output": "hex",
	} {
		c.RuntimeParams[name] = value
	}
	dialer := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3, // a machine that is gone is noticed in 25 s
	}}
	c.DialFunc = dialer.DialContext
	return c
}

// A database is the connection on which a feed asks, beside the one that streams.
type database struct {
	mu   sync.Mutex // held during a query
	conn *pgx.Conn
}

func connect(ctx context.Context, c *pgx.ConnConfig) (*database, error) {
	conn, err := pgx.ConnectConfig(ctx, c.Copy())
	if err != nil {
		return nil, err
	}
	return &database{conn: conn}, nil
}

func (db *database) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = db.conn.Close(ctx)
}

// query scans the only row of a query. It does not end with ctx, which would cost the connection.
func (db *database) query(ctx context.Context, sql string, args []any, into ...any) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), queryTimeout)
	defer cancel()
	return db.slowQuery(ctx, sql, args, into...)
}

func (db *database) slowQuery(ctx context.Context, sql string, args []any, into ...any) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.conn.QueryRow(ctx, sql, args...).Scan(into...)
}

// rows is query for any number of rows. It calls each after it has scanned one.
func (db *database) rows(ctx context.Context, sql string, args []any, each func(), into ...any) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), queryTimeout)
	defer cancel()
	db.mu.Lock()
	defer db.mu.Unlock()
	rows, err := db.conn.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	_, err = pgx.ForEachRow(rows, into, func() error { each(); return nil })
	return err
}

func (db *database) snapshot(ctx context.Context) (s snapshot, err error) {
	var text string
	if err := db.query(ctx, `SELECT pg_current_snapshot()::text`, nil, &text); err != nil {
		return s, err
	}
	return parseSnapshot(text)
}

// A slot is a row of pg_replication_slots, and how far the log is.
type slot struct {
	exists      bool
	plugin      string
	database    string // in which it is
	here        bool   // that is this database
	twoPhase    bool
	lost        bool // Postgres has removed what it needs
	pid         int32
	holder      string        // "" if nobody reads the slot
	synchronous bool          // synchronous_standby_names takes the holder for a standby
	confirmed   pglogrepl.LSN // everything before has been handled
	end         pglogrepl.LSN // of the log
}

const slotQuery = `
	SELECT pg_current_wal_insert_lsn()::text, s.slot_name IS NOT NULL, coalesce(s.plugin, ''), coalesce(s.database, ''),
		s.database IS NOT DISTINCT FROM current_database(), coalesce(s.two_phase, false),
		coalesce(s.wal_status = 'lost', false), coalesce(s.active_pid, 0),
		CASE WHEN s.active_pid IS NULL THEN ''
			ELSE concat_ws(' ', nullif(a.application_name, ''), host(a.client_addr), 'pid ' || s.active_pid) END,
		coalesce(r.sync_priority, 0) > 0, coalesce(s.confirmed_flush_lsn, '0/0')::text
	FROM (VALUES (1)) one
	LEFT JOIN pg_replication_slots s ON s.slot_name = $1
	LEFT JOIN pg_stat_activity a ON a.pid = s.active_pid
	LEFT JOIN pg_stat_replication r ON r.pid = s.active_pid`

func (db *database) slot(ctx context.Context, name string) (s slot, err error) {
	var end, confirmed string
	if err = db.query(ctx, slotQuery, []any{name}, &end, &s.exists, &s.plugin, &s.database, &s.here, &s.twoPhase,
		&s.lost, &s.pid, &s.holder, &s.synchronous, &confirmed); err != nil {
		return s, err
	}
	var errs [2]error
	s.end, errs[0] = pglogrepl.ParseLSN(end)
	s.confirmed, errs[1] = pglogrepl.ParseLSN(confirmed)
	s.end = withoutHeader(s.end)
	return s, errors.Join(errs[:]...)
}

// withoutHeader is the end of the log without the header of a page on which nothing has been written: the stream does not count that, and a
// server that is idle may stay there.
func withoutHeader(end pglogrepl.LSN) pglogrepl.LSN {
	const page, header, longHeader = 8192, 24, 40 // the long one is that of a file's first page
	if on := end % page; on == header || on == longHeader {
		return end - on
	}
	return end
}

// behind is how many bytes of the log have not been handled.
func behind(end, handled pglogrepl.LSN) int64 { return int64(max(end, handled) - handled) }

// drop drops a slot, which must have no reader. It is no error if there is no such slot.
func (db *database) drop(ctx context.Context, name string) error {
	var done string
	err := db.query(ctx, `SELECT pg_drop_replication_slot($1)::text`, []any{name}, &done)
	if isCode(err, undefinedObject) {
		return nil
	}
	return err
}

// Codes of errors of Postgres.
const (
	undefinedObject  = "42704"
	duplicateObject  = "42710"
	objectInUse      = "55006"
	insufficientPriv = "42501"
)

func isCode(err error, code string) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == code
}
