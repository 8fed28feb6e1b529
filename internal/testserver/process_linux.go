package testserver

import "syscall"

// dieWithParent has the kernel send end to the child when the thread that
// started it ends. See start for the thread.
func dieWithParent(attr *syscall.SysProcAttr, end syscall.Signal) { attr.Pdeathsig = end }
