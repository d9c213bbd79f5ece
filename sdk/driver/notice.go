package driver

import (
	"strconv"

	"github.com/causality-project/causality/sdk/core"
)

// Kind says what a Notice is about.
type Kind uint8

const (
	Dropped          Kind = iota + 1 // events were given up: Reason, Events
	Undelivered                      // an attempt failed: Err, Events that are queued, Paused
	Refused                          // the server takes a batch at most in parts: Err
	Delivered                        // an attempt succeeded: Events that the server took
	QueueDamaged                     // the file was moved to MovedTo and a new one begun: Err
	QueueUnusable                    // events wait in memory until the process ends: Err
	QueueFailing                     // the file takes no events, for now: Err
	QueueRecovered                   // it takes them again
	CallbackPanicked                 // Config.Rejected did: Err
)

// Level is how much a Notice matters to the host's log.
type Level uint8

const (
	Debug Level = iota
	Info
	Warn
	Error
)

// Notice is something that a host's log or metrics want to know. Its Kind says
// which fields are set.
type Notice struct {
	Kind    Kind
	Err     error
	Reason  core.Reason
	Events  int
	Paused  bool   // the server refuses the key
	MovedTo string // a damaged file
	Changed bool   // the attempt before ended otherwise; repetitions are not worth a line in a log
}

// Level is how much n matters.
func (n Notice) Level() Level {
	switch n.Kind {
	case QueueDamaged, QueueUnusable, QueueFailing, CallbackPanicked:
		return Error
	case Dropped, Refused:
		return Warn
	case Undelivered:
		if n.Changed {
			return Warn
		}
	case QueueRecovered:
		return Info
	case Delivered:
		if n.Changed {
			return Info
		}
	}
	return Debug
}

// Message is the same sentence for every notice of a kind and level, for logs that
// group by it.
func (n Notice) Message() string {
	switch n.Kind {
	case Dropped:
		return "causality: events dropped"
	case Undelivered:
		return "causality: events were not delivered and stay queued"
	case Refused:
		return "causality: the server refused a batch; its halves are tried, and an event that it refuses alone is dropped"
	case Delivered:
		if n.Changed {
			return "causality: events are delivered again"
		}
		return "causality: events delivered"
	case QueueDamaged:
		return "causality: the queue file was damaged; its events are lost and a new one was begun"
	case QueueUnusable:
		return "causality: the queue file cannot be used; events wait in memory and end with the process"
	case QueueFailing:
		return "causality: the queue file takes no events; they wait in memory, and the newest are refused when that is full"
	case QueueRecovered:
		return "causality: the queue file takes events again"
	case CallbackPanicked:
		return "causality: the callback for rejected events panicked"
	}
	return "causality: unknown notice"
}

// String is Message with the notice's fields.
func (n Notice) String() string {
	text := n.Message()
	if n.Kind == Dropped || n.Kind == Undelivered || n.Kind == Delivered {
		text += ": " + strconv.Itoa(n.Events)
	}
	if n.Reason != "" {
		text += " (" + string(n.Reason) + ")"
	}
	if n.Err != nil {
		text += ": " + n.Err.Error()
	}
	if n.MovedTo != "" {
		text += "; the damaged file is " + n.MovedTo
	}
	return text
}
