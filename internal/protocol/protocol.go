// Package protocol is what the library and the model of it share, so that they cannot drift apart.
package protocol

// Serves is the rule of flights: whether a caller may use what a flight found. The times are of one clock, which orders
// arrivals, begins and seals in a process. A flight is sealed just before its last command is sent that may decide it, and
// decided if that command did: the look that hit, or the fill that Redis accepted.
//
// A flight begins when its load does. If that was after the caller arrived, the load began later than any Invalidate that the
// caller may know of. If
// the caller arrived before the seal, Redis executed the command after the caller arrived, and found the entry not
// invalidated since the load began. It is the sending that counts: a caller that arrives while the command is under way may
// know of an Invalidate that overtook its reply.
func Serves(arrived, began, sealed uint64, decided bool) bool {
	return began > arrived || decided && arrived < sealed
}

// MayServe is the rule of joining: whether a flight that has not landed might serve a caller. If not, the caller would wait in
// vain. A flight is closed when no command that is sent later can decide it: just before its fill is sent, and when a load
// begins whose result may not be filled. Before its load begins, began is 0 and the flight is open, unless its callers have left.
func MayServe(arrived, began uint64, closed bool) bool {
	return began > arrived || !closed
}
