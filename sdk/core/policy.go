package core

import "math"

// Micros is an instant, in microseconds since 1970 UTC, or a length of time in
// microseconds.
type Micros int64

const (
	Millisecond Micros = 1000
	Second             = 1000 * Millisecond
	Minute             = 60 * Second
	Hour               = 60 * Minute
	Day                = 24 * Hour

	// Never is later than every deadline.
	Never Micros = math.MaxInt64
)

// Limits of the ingest protocol, kept by the sender so that the server need not
// refuse.
const (
	MaxEvents     = 2000     // in a request
	MaxEventBytes = 32 << 10 // encoded
	MaxNameLength = 200      // characters, of names and ids

	// maxBodyBytes bounds a request's events before compression. It leaves room
	// below the server's 1 MiB for what else a request says.
	maxBodyBytes = 1<<20 - 16<<10

	maxBlockBytes = 64 << 10           // a block this large is closed
	commitWithin  = 100 * Millisecond  // an event is handed to the queue
	commitRetry   = Second             // after the queue failed
	firstBackoff  = Second             // doubles with every failure in a row …
	maxBackoff    = 300 * Second       // … up to this; the wait is random below it
	maxRetryAfter = Hour               // a server cannot silence a client for longer
	pauseProbe    = Hour               // a refused key is tried again
	countsWithin  = Second             // a count of drops is saved
	maxCodes      = 32                 // distinct codes of rejection that are counted apart
	unknownCode   = Reason("rejected") // stands for an empty code, and for those beyond maxCodes
)

// Reason is why an event was dropped. Beside the constants, it is the code of the
// server's rejection, such as plan_violation.
type Reason string

const (
	Expired    Reason = "expired"    // older than MaxAge
	Overflow   Reason = "overflow"   // the oldest of a queue at its limit
	QueueFull  Reason = "queue_full" // refused at the call: the hand-off buffer was full
	Invalid    Reason = "invalid"    // refused at the call, with the reason
	TooLarge   Reason = "too_large"  // above 32 KiB, or alone and still answered with 413
	Unreadable Reason = "unreadable" // alone and still answered with 400
	Damaged    Reason = "damaged"    // the queue's file lost it
	OptedOut   Reason = "opted_out"  // cleared by OptOut; never reported to the server
)

// reported are the reasons that travel with the next batch, in a fixed order.
var reported = [...]Reason{Expired, Overflow, QueueFull, Invalid, TooLarge, Unreadable, Damaged}

// verdict is what an answer means for the batch.
type verdict uint8

const (
	accept verdict = iota
	retry
	pause
	split   // send half
	discard // a single event that will never be accepted
)

// classify reads a status. What is not known to be about the batch is taken for
// trouble on the way (a proxy's login page, a wrong route, a server being
// replaced) and tried again: only age and size end that.
func classify(status, events int) verdict {
	switch status {
	case 200:
		return accept
	case 401, 403:
		return pause
	case 400, 413:
		if events > 1 {
			return split
		}
		return discard
	}
	return retry
}

// backoff is the wait after the given number of failures in a row, with full
// jitter: anywhere from nothing to the doubling bound, so that clients which
// failed together do not return together.
func backoff(failures int, random uint64) Micros {
	bound := maxBackoff
	if failures < 10 {
		bound = min(firstBackoff<<max(failures-1, 0), maxBackoff)
	}
	return Micros(random % uint64(bound+1))
}
