// Package near keeps values in the memory of a process, and still no process serves a value from before an invalidation after that
// has returned. It knows nothing of caches: a [Log] is the part of a process, [Copies] the memory of one cache, and a [Note] an
// invalidation on its way to the other processes. docs/near.md tells the protocol and what it costs, proof/near checks it, and
// nearscript has the scripts.
//
// # How a cache calls it
//
// New, with WithNear: [Join] with the client and the key aside-near, or aside-near-<scope>. All caches of a scope have the same. With
// entries above 0 also [NewCopies], with the prefix that all names of the cache have ("product:"). A cache without entries only
// tells of its invalidations.
//
// A look at an entry, in this order:
//
//  1. [Copies.Get], unless the read is a Bypass, or inside a load, or the name is owed, or was invalidated in the same InTx. A value
//     is cloned for the caller. Reads inside a load look past copies because what is made from an old copy may be filled
//     after the copy has been dropped.
//  2. [Copies.Note] before the command that looks is sent: GET, MGET or the script that takes the lease. Callers that join a look
//     do not note: the one that sends it does, and it puts.
//  3. [Copies.Put] if the look has found a value or an absence that this cache can use. fresh is what the document says; one that
//     is stale is not copied. tags are those of the value, as WithTags computes them.
//
// A fill: Note just before the fill is sent, and Put if Redis has accepted it. Never Put what was
// loaded under a hold, with a refused fill, or without a fill. Never Put what a look found before a
// Note.
//
// Invalidate: remove the documents, and wait for the replies. Then [Log.Tell] with the names. Its error is that of Invalidate, and the
// invalidation is owed; a retry removes and tells again. If the removal itself fails, [Log.Drop] ends the copies of this process.
// On a single server, NOTE may stand in the pipeline of the removals: [Log.Note], [Note.Script] behind them, [Note.Told] with
// the reply if all removals were answered in that pipeline, and then [Note.Wait] in place of Tell. If a removal has to be sent
// again, as after NOSCRIPT, or was moved to another node, Told is not called.
//
// InvalidateTags: Tell with the tags, after everything else has been done, whatever the index had. While versions that compute tags
// differently run side by side, add the names that were found. InvalidateAll: Tell with the prefix, after the scan.
//
// InTx: Invalidate places the hold, and then tells and waits before it returns. So nothing is copied until the COMMIT, and the
// release tells nobody. If a renewal finds that the hold was gone, it places it and tells in the background. If the
// release, or any renewal before, has found it gone, InTx tells and waits after the release. A call that holds several
// entries in order to remove them at once holds all, tells, and then releases.
//
// WithReplicaLag needs nothing: what is held for the lag is not filled, and so not copied.
//
// Close: [Copies.Detach], then [Log.Leave].
//
// [Config].Do is where the breaker and the time of a call belong. It may return an error at once: then the lease ends by
// itself, and Tell returns the error.
//
// Tests can have a process hang: [Log.Pause].
package near
