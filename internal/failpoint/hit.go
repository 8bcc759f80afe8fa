//go:build !failpoints

package failpoint

// Hit says that a point is reached. Nothing happens: the points are for binaries built with the tag failpoints.
func Hit(Point) {}
