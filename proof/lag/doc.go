// Package lag holds no code. Its tests show aside.WithReplicaLag with a real Postgres standby that applies each commit
// late: loads read from the standby, writes go to the primary.
package lag
