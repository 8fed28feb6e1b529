package asidepg

// Step has fn called with what the feed is about to do, or has done, wherever a process might be killed.
func Step(f *Feed, fn func(name string)) { f.step = fn }

// Ungate has the feed handle a commit as soon as it is in the stream, as a feed without visible.go would.
func Ungate(f *Feed) { f.ungated = true }

// Deafen has the feed ignore how far Postgres says that it has read.
func Deafen(f *Feed) { f.deaf = true }

// Sees parses pg_current_snapshot() and asks it.
func Sees(text string, xid uint32) (bool, error) {
	s, err := parseSnapshot(text)
	return s.sees(xid), err
}
