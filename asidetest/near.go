package asidetest

import (
	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside/internal/near"
)

// PauseNear has the near copies of one process hang, as those of a process that is stopped do: those of the open caches that
// were made with client. It ends with resume, or with the test. Nothing else of that process hangs.
//
// A process that hangs serves its near copies for up to 0.9 s more, and then reads from Redis. An Invalidate by another client
// waits until then, for up to a second, and returns nil. Once it has returned, the old value is served by nobody. Inside a bubble of
// testing/synctest that second is virtual. Before a process has served a near copy, as Stats().NearHits tells, nobody may wait for it.
//
// The test fails if no open cache of client has near copies.
func (s *Server) PauseNear(client redis.UniversalClient) (resume func()) {
	s.t.Helper()
	resume, ok := near.PauseOf(client)
	if !ok {
		s.t.Fatalf("asidetest: PauseNear: no open cache of this client has near copies, see aside.WithNear")
	}
	s.t.Cleanup(resume)
	return resume
}
