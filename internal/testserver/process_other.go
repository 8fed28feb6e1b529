//go:build !linux

package testserver

import "syscall"

// dieWithParent has no counterpart here: t.Cleanup alone ends the servers.
func dieWithParent(*syscall.SysProcAttr, syscall.Signal) {}
