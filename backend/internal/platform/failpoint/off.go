//go:build !failpoints

package failpoint

// Hit does nothing: the release build carries no failpoints.
func Hit(string) {}
