package query

import (
	"math"
	"strconv"
)

// Engines write values alike, whichever of them answers: an instant with its
// offset, a time on the wall without one.
const (
	WallLayout    = "2006-01-02T15:04:05.999999"
	InstantLayout = WallLayout + "Z07:00"
)

// FloatText is the shortest text that reads back as the same number of that many
// bits.
func FloatText(f float64, bits int) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	if magnitude := math.Abs(f); magnitude != 0 && (magnitude < 1e-6 || magnitude >= 1e21) {
		return strconv.FormatFloat(f, 'e', -1, bits)
	}
	return strconv.FormatFloat(f, 'f', -1, bits)
}
