// Package forge holds no code. Its test shows that aside.WithSeal keeps what it promises on a real Redis to which somebody else
// writes: forgers flip, move, forge and replay documents all the time, while caches read, fill and invalidate them.
//
// The AEAD of the caches tells the test what was sealed, for which entry, and when it ends. So every row that a read returns can be
// judged, without a guess about how long anything takes: the row must have been this key's. Either it was so while the read ran, or
// it was sealed for this entry, and its end had not come when the read began.
package forge
