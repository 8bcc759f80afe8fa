package faults

import "syscall"

// mount puts an empty file system on a directory, which takes the rights of an administrator.
func mount(dir, options string) error { return syscall.Mount("tmpfs", dir, "tmpfs", 0, options) }

func unmount(dir string) error { return syscall.Unmount(dir, syscall.MNT_DETACH) }
