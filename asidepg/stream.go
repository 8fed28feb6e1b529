package asidepg

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// openStream connects for replication, and returns which system answers.
func (r *run) openStream(ctx context.Context) (*pgconn.PgConn, pglogrepl.IdentifySystemResult, error) {
	config := r.server.Config.Copy()
	config.RuntimeParams["replication"] = "database"
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return nil, pglogrepl.IdentifySystemResult{}, err
	}
	system, err := pglogrepl.IdentifySystem(ctx, conn)
	if err != nil {
		conn.Close(ctx)
	}
	return conn, system, err
}

// switched is where the log left the timeline before the present one, zero if there is none.
func switched(ctx context.Context, conn *pgconn.PgConn, timeline int32) (pglogrepl.LSN, error) {
	if timeline <= 1 {
		return 0, nil
	}
	history, err := pglogrepl.TimelineHistory(ctx, conn, timeline)
	if err != nil {
		return 0, fmt.Errorf("asidepg: the history of timeline %d: %w", timeline, err)
	}
	var last pglogrepl.LSN
	for line := range strings.Lines(string(history.Content)) { // timeline, where it was left, why
		fields := strings.Fields(line)
		if len(fields) < 2 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if last, err = pglogrepl.ParseLSN(fields[1]); err != nil {
			return 0, fmt.Errorf("asidepg: the history of timeline %d: %w", timeline, err)
		}
	}
	return last, nil
}

// A stream is a connection on which Postgres sends what has been committed. One goroutine receives while another confirms.
type stream struct {
	conn     net.Conn
	frontend *pgproto3.Frontend // to receive
	pid      int32              // of the process of Postgres that sends
	at       *position          // what has been confirmed
	sending  sync.Mutex
}

// startStream has Postgres stream the slot. It fails with objectInUse if another process holds the slot.
func (r *run) startStream(ctx context.Context, conn *pgconn.PgConn) (*stream, error) {
	publication := strings.ReplaceAll(pgx.Identifier{r.config.Publication}.Sanitize(), "'", "''")
	err := pglogrepl.StartReplication(ctx, conn, r.config.Slot, 0, pglogrepl.StartReplicationOptions{
		Mode: pglogrepl.LogicalReplication,
		// Position 0 is the one that the slot keeps. The one that this process remembers may be ahead of a server that has lost its latest writes.
		PluginArgs: []string{"proto_version '1'", "publication_names '" + publication + "'", "messages 'true'"},
	})
	if err != nil {
		return nil, err
	}
	hijacked, err := conn.Hijack()
	if err != nil {
		return nil, err
	}
	return &stream{conn: hijacked.Conn, frontend: hijacked.Frontend, pid: int32(hijacked.PID), at: new(position)}, nil
}

// receive returns the next message: XLogData or a keepalive. It returns an error soon after interrupt.
func (s *stream) receive() ([]byte, error) {
	for {
		m, err := s.frontend.Receive()
		if err != nil {
			return nil, err
		}
		switch m := m.(type) {
		case *pgproto3.CopyData:
			if len(m.Data) > 0 {
				return m.Data, nil
			}
		case *pgproto3.ErrorResponse:
			return nil, pgconn.ErrorResponseToPgError(m)
		case *pgproto3.CopyDone:
			return nil, errors.New("asidepg: Postgres has ended the stream")
		}
	}
}

func (s *stream) interrupt() { _ = s.conn.SetReadDeadline(time.Unix(1, 0)) }

// start notes what was confirmed at the start.
func (s *stream) start(at pglogrepl.LSN) { s.at.moveTo(at) }

func (s *stream) confirmed() pglogrepl.LSN { return s.at.at() }

// reply says again what is confirmed.
func (s *stream) reply() error { return s.confirm(s.confirmed()) }

// confirm tells Postgres that what is before the position has been handled. It also keeps the
// connection from its timeout.
func (s *stream) confirm(at pglogrepl.LSN) error {
	const length = 4 + 1 + 4*8 + 1
	m := []byte{'d', 0, 0, 0, length, 'r'}
	for range 3 { // written, flushed, applied
		m = binary.BigEndian.AppendUint64(m, uint64(at))
	}
	m = binary.BigEndian.AppendUint64(m, uint64(time.Since(postgresEpoch).Microseconds()))
	m = append(m, 0) // no reply, please
	s.sending.Lock()
	defer s.sending.Unlock()
	_ = s.conn.SetWriteDeadline(time.Now().Add(queryTimeout))
	_, err := s.conn.Write(m)
	if err == nil {
		s.at.moveTo(at)
	}
	return err
}

var postgresEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// close ends the connection in the way that Postgres takes for an orderly end.
func (s *stream) close() {
	s.sending.Lock()
	defer s.sending.Unlock()
	_ = s.conn.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = s.conn.Write([]byte{'X', 0, 0, 0, 4})
	_ = s.conn.Close()
}

// A position is how far the log has been handled. It is written by the goroutine that receives, and read by the one that confirms.
type position struct {
	lsn  atomic.Uint64
	busy atomic.Bool // inside a transaction
}

func newPosition(at pglogrepl.LSN) *position {
	p := new(position)
	p.moveTo(at)
	return p
}

func (p *position) at() pglogrepl.LSN { return pglogrepl.LSN(p.lsn.Load()) }

func (p *position) moveTo(at pglogrepl.LSN) { p.lsn.Store(max(p.lsn.Load(), uint64(at))) }
