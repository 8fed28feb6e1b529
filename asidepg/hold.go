package asidepg

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"
	"golang.org/x/sync/errgroup"
)

// A holder is a process that holds the slot. It reads the stream, and lives until the stream or its other connection breaks, the
// slot is given up, or Run's ctx ends.
//
// The stream has one transaction after the other, in the order of their commits: begin, rows, commit. At begin the holder
// waits until the transaction is visible. Each row goes to its handlers as it arrives, so that a transaction of any size needs
// little memory. At commit the holder waits for the handlers, and only then moves the position that a watch confirms.
type holder struct {
	*run
	db       *database
	stream   *stream
	handled  *position
	snapshot snapshot // the latest

	relations map[uint32]*relation // of this session, by the ids that rows name
	latest    map[string]*relation // the same, by name
	tables    map[string]table     // what the catalog said at the start of the session
	root      *partitioned         // whose description came just now, which that of a partition follows
	roots     map[uint32]*partitioned
	tx        *transaction // nil between transactions
}

// A transaction is one whose rows are being handled.
type transaction struct {
	begin    *pglogrepl.BeginMessage
	handlers errgroup.Group // their errors are what has ended the session
}

// A partitioned table is described by its root and by each of its partitions.
type partitioned struct {
	id         uint32
	root       *relation
	partitions map[uint32]*relation
}

// hold takes the slot and reads it until something breaks. It returns objectInUse if another process has the slot.
func (r *run) hold(ctx context.Context, db *database) error {
	conn, system, err := r.openStream(ctx)
	if err != nil {
		return err
	}
	left, err := switched(ctx, conn, system.Timeline)
	var stream *stream
	if err == nil {
		stream, err = r.startStream(ctx, conn)
	}
	if err != nil {
		conn.Close(ctx)
		return err
	}
	defer r.free(db, stream)
	s, tables, err := r.look(ctx, db)
	if err != nil {
		return err
	}
	r.started = true
	r.tell("held")
	h := &holder{
		run: r, db: db, stream: stream, handled: newPosition(s.confirmed), tables: tables,
		relations: make(map[uint32]*relation), latest: make(map[string]*relation), roots: make(map[uint32]*partitioned),
	}
	stream.start(s.confirmed)
	why := r.missed(tables, s.confirmed, left)
	if why == "" {
		r.catalog.learn(tables)
	}
	return r.watched(ctx, &watch{run: r, db: db, slot: r.config.Slot, stream: stream, handled: h.handled}, func(ctx context.Context) error {
		defer context.AfterFunc(ctx, stream.interrupt)()
		if why != "" {
			if err := r.gap(ctx, db, why); err != nil {
				return err
			}
		}
		return h.read(ctx)
	})
}

// free closes the stream, and waits a moment until Postgres has noticed.
func (r *run) free(db *database, s *stream) {
	s.close()
	for range freeTries {
		now, err := db.slot(context.Background(), r.config.Slot)
		if err != nil || now.pid != s.pid {
			return
		}
		time.Sleep(freeEvery)
	}
}

const (
	freeEvery = 10 * time.Millisecond
	freeTries = 100
)

// look is what a process looks at when it has taken the slot.
func (r *run) look(ctx context.Context, db *database) (s slot, tables map[string]table, err error) {
	if s, err = db.slot(ctx, r.config.Slot); err == nil {
		err = r.checkSlot(s)
	}
	if err == nil {
		tables, err = r.tables(ctx, db)
	}
	return s, tables, err
}

// read handles the stream until it breaks.
func (h *holder) read(ctx context.Context) (err error) {
	defer func() {
		if h.tx != nil { // no handler outlives Run
			_ = h.tx.handlers.Wait()
		}
	}()
	for {
		m, err := h.stream.receive()
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		if err != nil {
			return err
		}
		if err := h.take(ctx, m); err != nil {
			return err
		}
	}
}

// take handles one message of the replication protocol.
func (h *holder) take(ctx context.Context, m []byte) error {
	switch m[0] {
	case pglogrepl.PrimaryKeepaliveMessageByteID:
		k, err := pglogrepl.ParsePrimaryKeepaliveMessage(m[1:])
		if err != nil {
			return err
		}
		if h.tx == nil && !h.deaf { // else the transaction is not handled yet
			h.handled.moveTo(k.ServerWALEnd)
			h.stats.idle(h.handled.at())
		}
		if k.ReplyRequested {
			return h.stream.reply()
		}
		return nil
	case pglogrepl.XLogDataByteID:
		x, err := pglogrepl.ParseXLogData(m[1:])
		if err != nil {
			return err
		}
		change, err := pglogrepl.Parse(x.WALData)
		if err != nil {
			return err
		}
		err = h.takeChange(ctx, change)
		if _, ok := change.(*pglogrepl.RelationMessage); !ok {
			h.root = nil
		}
		return err
	}
	return fmt.Errorf("asidepg: a message of the unknown kind %q", m[0])
}

// takeChange handles one message of pgoutput.
func (h *holder) takeChange(ctx context.Context, m pglogrepl.Message) error {
	switch m := m.(type) {
	case *pglogrepl.BeginMessage:
		return h.begin(ctx, m)
	case *pglogrepl.CommitMessage:
		return h.commit(m)
	case *pglogrepl.RelationMessage:
		return h.describe(ctx, newRelation(m), m.RelationID)
	case *pglogrepl.InsertMessage:
		return h.row(ctx, m.RelationID, Insert, nil, m.Tuple)
	case *pglogrepl.UpdateMessage:
		return h.row(ctx, m.RelationID, Update, m.OldTuple, m.NewTuple)
	case *pglogrepl.DeleteMessage:
		return h.row(ctx, m.RelationID, Delete, m.OldTuple, nil)
	case *pglogrepl.TruncateMessage:
		return h.truncate(ctx, m)
	case *pglogrepl.LogicalDecodingMessage:
		return h.message(ctx, m)
	}
	return nil // the names of types, and of origins
}

// begin waits until the transaction can be seen.
func (h *holder) begin(ctx context.Context, m *pglogrepl.BeginMessage) error {
	h.handled.busy.Store(true)
	h.stats.begin(m.CommitTime)
	h.tell("begin")
	if err := h.awaitVisible(ctx, m.Xid); err != nil {
		return err
	}
	h.tell("visible")
	h.tx = &transaction{begin: m}
	h.tx.handlers.SetLimit(h.config.Parallel)
	return nil
}

// commit waits for the handlers, and moves the position.
func (h *holder) commit(m *pglogrepl.CommitMessage) error {
	if err := h.tx.handlers.Wait(); err != nil {
		return err
	}
	h.tell("handled")
	h.handled.moveTo(m.TransactionEndLSN)
	h.tx = nil
	h.handled.busy.Store(false)
	h.stats.commit(m.TransactionEndLSN)
	return nil
}

// row has the handlers of a row called.
func (h *holder) row(ctx context.Context, id uint32, op Op, oldTuple, newTuple *pglogrepl.TupleData) error {
	r := h.relations[id]
	if r == nil {
		return fmt.Errorf("asidepg: a row of relation %d, which the stream has not described", id)
	}
	handlers := h.plan.tables[r.name]
	if len(handlers) == 0 {
		return nil
	}
	h.stats.change()
	oldCells, newCells := r.rows(op, oldTuple, newTuple)
	begin := h.tx.begin
	call := func(ctx context.Context, handle func(context.Context, Change) error) error {
		f := new(failed)
		c := Change{Table: r.name, Op: op, Committed: begin.CommitTime}
		if op != Insert {
			c.Old = Row{r, oldCells, f}
		}
		if op != Delete {
			c.New = Row{r, newCells, f}
		}
		h.tell("handler")
		err := handle(ctx, c)
		if failed := f.first(); failed != nil {
			return h.coverMissing(ctx, h.db, begin, failed)
		}
		return err
	}
	h.tx.handlers.Go(func() error { // waits for a place
		for _, handle := range handlers {
			if err := h.deliver(ctx, "a handler of "+r.name, func(ctx context.Context) error { return call(ctx, handle) }); err != nil {
				return err
			}
		}
		return nil
	})
	return context.Cause(ctx)
}

// describe takes the description of a table. One whose columns have changed is a gap: an ALTER TABLE that rewrites rows streams
// none of them.
func (h *holder) describe(ctx context.Context, r *relation, id uint32) error {
	if len(h.plan.tables[r.name]) == 0 {
		if h.root != nil { // this is one of its partitions
			h.root.partitions[id] = r
			h.relations[h.root.id] = h.root.relation()
		}
		h.root = nil
		return nil
	}
	h.relations[id] = r
	if h.tables[r.name].partitioned {
		if h.roots[id] == nil {
			h.roots[id] = &partitioned{id: id, partitions: make(map[uint32]*relation)}
		}
		h.root = h.roots[id]
		h.root.root = r
		h.relations[id] = h.root.relation()
	}
	before := h.latest[r.name]
	h.latest[r.name] = r
	if before == nil || before.sameColumns(r) {
		return nil
	}
	return h.gapInside(ctx, "table "+r.name+" has other columns than before")
}

// truncate is a gap: the stream has none of the rows that are gone.
func (h *holder) truncate(ctx context.Context, m *pglogrepl.TruncateMessage) error {
	for _, id := range m.RelationIDs {
		if r := h.relations[id]; r != nil && len(h.plan.tables[r.name]) > 0 {
			return h.gapInside(ctx, "table "+r.name+" was truncated")
		}
	}
	return nil
}

// gapInside is a gap that the stream tells of, in the middle of a transaction.
func (h *holder) gapInside(ctx context.Context, why string) error {
	if err := h.tx.handlers.Wait(); err != nil {
		return err
	}
	return h.gap(ctx, h.db, why)
}

// message has the handlers of a message called. A message outside a transaction moves the position,
// since all commits before it have been handled. The feed's own messages move it as well.
func (h *holder) message(ctx context.Context, m *pglogrepl.LogicalDecodingMessage) error {
	handlers := h.plan.messages[m.Prefix]
	if len(handlers) > 0 {
		h.stats.change()
	}
	content := bytes.Clone(m.Content) // which is part of the buffer that the next message is read into
	deliver := func() error {
		for _, handle := range handlers {
			if err := h.deliver(ctx, "a handler of messages", func(ctx context.Context) error {
				return handle(ctx, Message{Prefix: m.Prefix, Content: content})
			}); err != nil {
				return err
			}
		}
		return nil
	}
	if h.tx != nil && m.Transactional {
		h.tx.handlers.Go(deliver)
		return context.Cause(ctx)
	}
	h.handled.busy.Store(true)
	defer h.handled.busy.Store(false)
	if err := deliver(); err != nil {
		return err
	}
	h.handled.moveTo(m.LSN)
	h.stats.idle(h.handled.at())
	return nil
}
