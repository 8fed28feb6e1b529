// Package history checks what several processes read against what they wrote. Rows have versions that grow with each
// committed write. The processes record their operations as events on one clock, and a Checker decides, while they
// run and in bounded memory, which reads returned less than they had to.
package history

import (
	"encoding/binary"
	"errors"
	"io"
)

// A Kind says what an Event tells.
type Kind uint8

const (
	// Read: Version was returned for Key.
	Read Kind = iota + 1

	// ReadError: a read returned an error that was not the loader's.
	ReadError

	// LoadError: a read returned the loader's error, which says nothing about the cache.
	LoadError

	// Load: the loader was called for Key.
	Load

	// Write: Version has been written, and its COMMIT may be sent from End on, unless Flag says RolledBack.
	Write

	// Held: Invalidate, called at Start inside InTx, has held Key for Version.
	Held

	// Commit: the COMMIT of Version was acknowledged.
	Commit

	// Left: the function of InTx returns an error, although the COMMIT of Version may still land.
	Left

	// Observed: Version was read in the database itself. It tells of a COMMIT whose writer cannot.
	Observed

	// Invalidated: an invalidation of Key, or of all keys, that began at Start is confirmed. What had been committed by
	// Start must be read from End on. A DEL is one, as are a FLUSHALL, an empty restart, and the release of a hold. Flag says
	// if it was ByTag, as it does of Held and Barred. What is made from Key is not meant, which has an event of its own.
	Invalidated

	// Barred: an invalidation that began at Start is not confirmed, or need not be: what had been
	// committed by Start must be read from End on in this process alone. With AllKeys, it does not
	// tell of keys that are made from others.
	Barred

	// Failed: the invalidation of Version, whose COMMIT had been acknowledged, was not confirmed.
	Failed

	// FaultBegin, FaultEnd: a fault is under way in between. Version is its number.
	FaultBegin
	FaultEnd

	// WipeBegin, WipeEnd: in between, holds of Key, or of all keys, may get lost in Redis; if Flag says ByTag, those of tags.
	WipeBegin
	WipeEnd

	// LossBegin, LossEnd: what Redis confirms of Key in between may be undone, by a failover. At LossEnd all nodes agree
	// again. Flag says at both if it is Planned, OfBooks or OfIndex. Version is the number of the fault.
	LossBegin
	LossEnd

	// NearHits: Version more reads than at the last such event were served from near copies.
	NearHits

	// Verified: Version more hits than at the last such event were compared with the loader by WithVerify.
	Verified

	// CalledStale: WithVerify has called a hit of Key stale.
	CalledStale

	// Fed: a feed says that it has invalidated whatever had been committed by Start. Version is by how many nanoseconds it was behind.
	Fed

	// late: what was done before obliges now. The Checker makes it.
	late

	// bound: by now Version must be read, whatever went wrong. The Checker makes it.
	bound
)

var kindNames = [...]string{
	Read: "read", ReadError: "read error", LoadError: "load error", Load: "load", Write: "write", Held: "held",
	Commit: "committed", Left: "left with an error, the COMMIT may land:", Observed: "seen in the database", Invalidated: "invalidated", Barred: "barred in its process",
	Failed: "invalidation failed", FaultBegin: "fault begins", FaultEnd: "fault ends", WipeBegin: "holds may be lost",
	WipeEnd: "holds are safe again", LossBegin: "what is confirmed may be lost", LossEnd: "nothing is lost any more",
	NearHits: "near hits", Verified: "verified", CalledStale: "called stale", Fed: "the feed has come to", late: "obliges", bound: "bound of the TTL",
}

func (k Kind) String() string { return kindNames[k] }

// Flags of a Write.
const (
	InTx       = 1 << iota // it is held before its COMMIT
	RolledBack             // its COMMIT is never sent
	SQL                    // its writer does not know of the cache
)

// ByTag is the flag of what is done to the tag of a row, and reaches its entry only by what Redis keeps book of.
const ByTag = 1

// Brief is the flag of a Held whose hold has the shorter life, Config.Brief.
const Brief = 2

// Apart is the flag of an Invalidated of AllKeys that came to one server after the other: in between, a row may have been made
// from an old source.
const Apart = 2

// Foreign is the flag of an Invalidated that was not done by the library, and Everything of one that was done by InvalidateAll or
// wiped all.
const (
	Foreign    = 4
	Everything = 8
)

// Flags of a loss.
const (
	Planned = 1 << iota // nothing is lost: while it lasts, the old primary may serve what it has
	OfBooks             // of the journal and of the held tags, not of the entry
	OfIndex             // the index of the tag may have lost the entry, or an entry has come back that is not in it
	OfNear              // what near copies are told by may be lost, or come to nothing
	Twice               // of OfNear: the second within Δ
)

// AllKeys stands for every key.
const AllKeys = 1<<16 - 1

// An Event is one operation, or one step of it. Times are nanoseconds on a clock that all processes share.
type Event struct {
	Kind       Kind
	Flag       uint8
	Key        uint16
	Version    int64
	Start, End int64
}

const eventSize = 28

func (e Event) appendTo(b []byte) []byte {
	b = append(b, byte(e.Kind), e.Flag)
	b = binary.LittleEndian.AppendUint16(b, e.Key)
	b = binary.LittleEndian.AppendUint64(b, uint64(e.Version))
	b = binary.LittleEndian.AppendUint64(b, uint64(e.Start))
	return binary.LittleEndian.AppendUint64(b, uint64(e.End))
}

func decodeEvent(b []byte) Event {
	return Event{
		Kind: Kind(b[0]), Flag: b[1], Key: binary.LittleEndian.Uint16(b[2:]),
		Version: int64(binary.LittleEndian.Uint64(b[4:])),
		Start:   int64(binary.LittleEndian.Uint64(b[12:])),
		End:     int64(binary.LittleEndian.Uint64(b[20:])),
	}
}

// A Frame is what a process sends at once: some events, and the time up to which it has told everything but reads.
type Frame struct {
	Until  int64
	Events []Event
}

// A frame on the wire is the length of its events in bytes, Until, and the events. It is no longer than maxFrame, which a
// pipe takes whole or not at all: a process that is killed leaves no half frame.
const (
	frameHeader = 2 + 8
	maxFrame    = 4096
)

// ReadFrame reads a frame. It returns io.EOF at the end.
func ReadFrame(r io.Reader) (Frame, error) {
	var header [frameHeader]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return Frame{}, err
	}
	n := int(binary.LittleEndian.Uint16(header[:]))
	if n%eventSize != 0 || n > maxFrame {
		return Frame{}, errors.New("history: not a frame")
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return Frame{}, err
	}
	f := Frame{Until: int64(binary.LittleEndian.Uint64(header[2:])), Events: make([]Event, 0, n/eventSize)}
	for ; len(body) > 0; body = body[eventSize:] {
		f.Events = append(f.Events, decodeEvent(body))
	}
	return f, nil
}
