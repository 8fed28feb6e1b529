package testserver

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// PostgresStandby starts a PostgreSQL server as Postgres does, and a streaming standby of it that
// may only be read and applies each commit late: delay after it was made. It returns once both
// accept connections, which takes some seconds. It starts them even if ASIDE_TEST_POSTGRES is set.
func PostgresStandby(t testing.TB, delay time.Duration) (primary, standby *PostgresServer) {
	t.Helper()
	if bin := postgresBin(); bin != "" {
		if _, err := exec.LookPath(filepath.Join(bin, "pg_basebackup")); err != nil {
			missing(t, "PostgreSQL's pg_basebackup")
		}
	}
	pg, port := startPostgres(t)
	data := filepath.Join(pg.home, "standby")
	if err := pg.run("pg_basebackup", "-D", data, "-h", loopback, "-p", port, "-U", "postgres",
		"--write-recovery-conf", "--checkpoint=fast", "--no-sync"); err != nil {
		t.Fatal(err)
	}
	late := "recovery_min_apply_delay=" + strconv.FormatInt(delay.Milliseconds(), 10) + "ms"
	return postgresOn(port), postgresOn(pg.serve(t, data, "hot_standby=on", late))
}
