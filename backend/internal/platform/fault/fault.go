// Package fault names the kinds of error that callers branch on and people
// read. A fault carries a sentence for the person, the cause for the operator,
// and, where it helps, the fields at fault and when to try again. Everything
// else stays an ordinary wrapped error and reaches people as Internal.
package fault

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Kind says what a caller can do about an error.
type Kind uint8

const (
	Internal        Kind = iota // our defect; the message never reaches people
	Invalid                     // the request is wrong; change it
	NotFound                    // no such thing, or not visible to the caller
	Conflict                    // it exists already, or changed meanwhile
	Unauthenticated             // no valid session or key
	Denied                      // known, but not allowed
	TooLarge                    // beyond a documented size
	RateLimited                 // too many; RetryAfter says when
	Exhausted                   // beyond a cap on memory, time or rows; narrow it
	Unavailable                 // something we need is away; RetryAfter says when
	Canceled                    // the caller went away or asked to stop
	Unsupported                 // understood, and refused with the reason
)

// Field names one wrong field of a request, by its path in protobuf JSON names
// such as "series[0].measure".
type Field struct {
	Name    string
	Message string
}

// Error is a fault. Message is one sentence that says what happened and what to
// do; it holds nothing secret.
type Error struct {
	Kind       Kind
	Message    string
	Fields     []Field
	RetryAfter time.Duration // 0: not known
	Err        error         // the cause, for logs only
}

func (e *Error) Error() string {
	if e.Err != nil {
		return e.Message + ": " + e.Err.Error()
	}
	return e.Message
}

func (e *Error) Unwrap() error { return e.Err }

// New makes a fault with a formatted sentence.
func New(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// Wrap makes a fault that keeps its cause for the logs.
func Wrap(err error, kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...), Err: err}
}

// InvalidField makes an Invalid fault about one field.
func InvalidField(field, format string, args ...any) *Error {
	message := fmt.Sprintf(format, args...)
	return &Error{Kind: Invalid, Message: field + ": " + message, Fields: []Field{{Name: field, Message: message}}}
}

// InvalidFields makes one Invalid fault of many fields, so that a person sees
// every mistake at once. It returns nil for none.
func InvalidFields(fields []Field) error {
	if len(fields) == 0 {
		return nil
	}
	message := fields[0].Name + ": " + fields[0].Message
	if len(fields) > 1 {
		message = fmt.Sprintf("%s (and %d more)", message, len(fields)-1)
	}
	return &Error{Kind: Invalid, Message: message, Fields: fields}
}

// KindOf reports the kind of the outermost fault in err's chain. A context's end
// is Canceled; everything unnamed is Internal.
func KindOf(err error) Kind {
	var fault *Error
	if errors.As(err, &fault) {
		return fault.Kind
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return Canceled
	}
	return Internal
}

// Is reports whether err is a fault of this kind.
func Is(err error, kind Kind) bool { return err != nil && KindOf(err) == kind }
