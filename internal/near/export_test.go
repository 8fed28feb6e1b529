package near

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// For tests.

const (
	Lease = lease
	Beat  = beat
	Most  = most
	Share = share
)

// NoteScript is NOTE, as writers send it.
var NoteScript = noteScript

// Verb names the script of a command, "" for another command.
func Verb(args []any) string {
	if len(args) < 2 {
		return ""
	}
	is, _ := args[1].(string)
	for verb, script := range map[string]interface{ Hash() string }{
		"news": newsScript, "note": noteScript, "low": lowScript, "close": closeScript,
	} {
		if is == script.Hash() {
			return verb
		}
	}
	return ""
}

// Load teaches a server the scripts.
func Load(ctx context.Context, rdb redis.UniversalClient) error {
	for _, script := range []*redis.Script{newsScript, noteScript, lowScript, closeScript} {
		if err := script.Load(ctx, rdb).Err(); err != nil { // on a Cluster, all nodes
			return err
		}
	}
	return nil
}

// Reading reports whether the Log has a lease.
func (l *Log) Reading() bool { return now() < l.until.Load() }

// Self is the name of the reader.
func (l *Log) Self() string { return l.self() }

// Attach has the Log tell d of what is dropped.
func (l *Log) Attach(d interface {
	Drop(name string)
	Wipe()
}) {
	l.attach(probe{d})
}

type probe struct {
	d interface {
		Drop(name string)
		Wipe()
	}
}

func (p probe) drop(name string)  { p.d.Drop(name) }
func (p probe) dropPrefix(string) {}
func (p probe) wipe()             { p.d.Wipe() }
func (p probe) sweep()            {}

// Text is how a record has what it is about, and Words reads it.
func Text(a About) string { return string(a.appendTo(nil)) }

func Words(text string) (all []string) {
	each(text, func(kind byte, word string) { all = append(all, string(kind)+word) })
	return all
}
