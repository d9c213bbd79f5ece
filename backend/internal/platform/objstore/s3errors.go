package objstore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/causality-project/causality/backend/internal/platform/fault"
)

// failure sorts what a request can end with by what to do about it.
type failure int

const (
	failNone      failure = iota
	failTemporary         // trying again may help, and may find that the first try had worked
	failTaken             // a conditional write found the key taken
	failAbsent            // no such object, or no such upload
	failFinal             // trying again is of no use
)

// changedError says that an object is not what its manifest row says.
type changedError struct{ what string }

func (e *changedError) Error() string { return e.what }

// localError says that this machine's disk failed, not the bucket.
type localError struct{ err error }

func (e *localError) Error() string { return e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

func kindOf(err error) failure {
	if err == nil {
		return failNone
	}
	var changed *changedError
	var local *localError
	if errors.Is(err, ErrExists) || errors.Is(err, ErrNotFound) || errors.As(err, &changed) || errors.As(err, &local) || notTrusted(err) || noCredentials(err) {
		return failFinal
	}
	if errors.Is(err, errChanging) {
		return failTemporary
	}
	code := codeOf(err)
	switch code {
	case "PreconditionFailed":
		return failTaken
	case "NoSuchKey", "NoSuchUpload", "NotFound":
		return failAbsent
	case "NoSuchBucket":
		return failFinal
	case "SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "RequestTimeTooSkewed", "OperationAborted",
		"ConditionalRequestConflict", "Throttling", "ThrottlingException", "TooManyRequests", "RequestLimitExceeded", "BadDigest", "IncompleteBody":
		// A skewed clock is told by the answer, and the next try is signed for the
		// server's time.
		return failTemporary
	}
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) {
		switch status := response.HTTPStatusCode(); {
		case status == http.StatusPreconditionFailed:
			return failTaken
		case status == http.StatusNotFound:
			return failAbsent
		case status >= 500, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout, status == http.StatusConflict, status < 300:
			return failTemporary // a status of success: its body could not be read
		case status >= 300:
			return failFinal
		}
	}
	// No credentials, or a request that could not be built.
	var operation *smithy.OperationError
	var sent *smithyhttp.RequestSendError
	var network net.Error
	switch {
	case errors.As(err, &sent), errors.As(err, &network), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF),
		errors.Is(err, context.DeadlineExceeded):
		return failTemporary
	case errors.As(err, &operation):
		return failFinal
	}
	return failTemporary // a body that broke off in some other way
}

func codeOf(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

func notTrusted(err error) bool {
	var verification *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var record tls.RecordHeaderError
	return errors.As(err, &verification) || errors.As(err, &authority) || errors.As(err, &host) || errors.As(err, &record)
}

// retry runs a request until it succeeds, cannot succeed, or has been tried
// often enough. The pauses double from 100 ms, at random up to that, so that
// many who failed at once do not come back at once.
func (s *S3) retry(ctx context.Context, size int64, request func(context.Context) error) error {
	const longest = 3 * time.Second
	pause := 100 * time.Millisecond
	for attempt := 1; ; attempt++ {
		limited, cancel := context.WithTimeout(ctx, s.cfg.Timeout+time.Duration(size>>20)*time.Second)
		err := request(limited)
		cancel()
		if err == nil || ctx.Err() != nil || kindOf(err) != failTemporary || attempt == s.cfg.Attempts {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause/2 + rand.N(pause/2)):
		}
		pause = min(2*pause, longest)
	}
}

// Damaged tells an object that is not what was written from a store that cannot
// be asked.
func Damaged(err error) bool {
	var changed *changedError
	return errors.As(err, &changed) || kindOf(err) == failTaken
}

// explain turns an error of a request into one that says what to do.
func (s *S3) explain(err error) error {
	var known *fault.Error
	var local *localError
	if err == nil || errors.Is(err, ErrExists) || errors.Is(err, ErrNotFound) || errors.As(err, &known) || errors.As(err, &local) ||
		errors.Is(err, context.Canceled) {
		return err
	}
	unavailable := func(format string, args ...any) error { return fault.Wrap(err, fault.Unavailable, format, args...) }
	// What passes by itself says when to ask again; the rest waits for a person.
	passing := func(format string, args ...any) error {
		f := fault.Wrap(err, fault.Unavailable, format, args...)
		f.RetryAfter = 5 * time.Second
		return f
	}
	var changed *changedError
	var response *smithyhttp.ResponseError
	status := 0
	if errors.As(err, &response) {
		status = response.HTTPStatusCode()
	}
	switch code := codeOf(err); {
	case noCredentials(err): // before what the service that gives them answered
		return unavailable("No credentials for %s were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE.", s.where)
	case errors.As(err, &changed):
		return unavailable("A stored object in %s is not what was written: %s. `causality lake verify` says what is wrong, and how to mend it.", s.where, changed.what)
	case code == "NoSuchBucket":
		return unavailable("There is no %s; create it, or correct --object-store.", s.where)
	case kindOf(err) == failTaken:
		return unavailable("A stored object in %s changed while it was read. `causality lake verify` says what is wrong, and how to mend it.", s.where)
	case kindOf(err) == failAbsent:
		return fmt.Errorf("%w (%w)", ErrNotFound, err)
	case code == "RequestTimeTooSkewed":
		return unavailable("The clock of this machine differs from the one of %s by more than it allows; set it, for example with NTP.", s.where)
	case code == "InvalidAccessKeyId", code == "SignatureDoesNotMatch", code == "ExpiredToken", code == "InvalidToken":
		return unavailable("The credentials are not those of %s (%s); correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile of AWS_PROFILE.", s.where, code)
	case status == http.StatusForbidden:
		return unavailable("Access to %s is denied; allow s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload, s3:ListBucket and s3:ListBucketMultipartUploads, and the use of its KMS key.", s.where)
	case status == http.StatusMovedPermanently, code == "AuthorizationHeaderMalformed", code == "IllegalLocationConstraintException":
		return unavailable("The %s is in another region than %s; add ?region=… to --object-store.", s.where, s.cfg.Region)
	case status == http.StatusNotImplemented:
		return unavailable("The server of %s does not do what is needed (%s); use one with conditional writes and uploads in parts.", s.where, code)
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return unavailable("The %s speaks http and not https; correct the endpoint.", s.where)
	case notTrusted(err):
		return unavailable("The certificate of %s is not trusted; use its https name, or give its authority in AWS_CA_BUNDLE.", s.where)
	case status >= 400 && kindOf(err) == failFinal:
		return unavailable("The %s refuses a request: %d %s.", s.where, status, code)
	case status != 0:
		return passing("The %s answers %d %s; it is tried again.", s.where, status, code)
	default:
		return passing("The %s cannot be reached; check its address and the network. It is tried again.", s.where)
	}
}

// noCredentials recognises by its text what the SDK has no type for.
func noCredentials(err error) bool {
	return strings.Contains(err.Error(), "get credentials") || strings.Contains(err.Error(), "static credentials are empty")
}
