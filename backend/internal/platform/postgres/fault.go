package postgres

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/causality-project/causality/backend/internal/platform/fault"
	"github.com/jackc/pgx/v5/pgconn"
)

// Fault tells an outage from a defect: an error that means "the database is
// away, or was while this ran" becomes fault.Unavailable with a time to try
// again, the end of ctx and faults stay, and the rest is returned as it is.
// A commit whose answer was lost is Unavailable too: it may have happened.
func Fault(ctx context.Context, err error) error {
	var known *fault.Error
	if err == nil || errors.As(err, &known) || ctx.Err() != nil {
		return err
	}
	unavailable := &fault.Error{Kind: fault.Unavailable, RetryAfter: 2 * time.Second, Err: err}
	switch {
	case hasCode(err, "57014") || hasCode(err, "40001") || hasCode(err, "40P01"): // statement timeout, conflicts of transactions
		unavailable.Message = "The database is too busy at the moment. Try again in a few seconds"
	case hasCode(err, "53100"):
		unavailable.Message = "The database's disk is full. Free some space; the server goes on by itself"
	case away(err):
		unavailable.Message = "The database is not reachable at the moment. Try again in a few seconds"
	default:
		return err
	}
	return unavailable
}

func away(err error) bool {
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		switch {
		case strings.HasPrefix(answer.Code, "08"), // connection exceptions
			strings.HasPrefix(answer.Code, "53"),                                   // disk, memory or connections exhausted
			answer.Code == "57P01", answer.Code == "57P02", answer.Code == "57P03", // shutdown, crash, starting
			answer.Code == "57P05", answer.Code == "25P03", answer.Code == "58030": // ended for idling, I/O error
			return true
		}
		return false
	}
	var connect *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connect) || errors.As(err, &network) || pgconn.SafeToRetry(err) ||
		errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "conn closed") ||
		strings.Contains(err.Error(), "unexpected EOF") || strings.Contains(err.Error(), "closed pool")
}

// reason is the shortest honest text of an error, for a sentence.
func reason(err error) string {
	var answer *pgconn.PgError
	switch {
	case errors.As(err, &answer):
		return answer.Message
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	}
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	return err.Error()
}
