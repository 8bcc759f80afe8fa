//go:build !failpoints

package failpoint

// Hit marks a point. It does nothing: only binaries with the build tag failpoints have points.
func Hit(Point) {}
