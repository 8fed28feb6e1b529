//go:build !linux

package main

import "syscall"

// dieWithParent does nothing: a worker ends when it reads that the parent is gone, unless it is stopped just then.
func dieWithParent(*syscall.SysProcAttr) {}
