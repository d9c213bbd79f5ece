package causality

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/causality-project/causality/sdk/core"
)

const (
	ingestPath       = "/causality.ingest.v1.IngestService/Ingest"
	maxResponseBytes = 2 << 20 // 2,000 rejections with their reasons
	contentType      = "application/proto"
)

// sender makes one attempt at a time to deliver a body: a Connect unary call is
// one POST.
type sender struct {
	client *http.Client
	url    string
	key    string
	gzip   sync.Pool
	close  func() // ends the idle connections that are ours
}

func newSender(o *Options) *sender {
	transport, closeIdle := o.Transport, func() {}
	if transport == nil {
		own := newTransport()
		transport, closeIdle = own, own.CloseIdleConnections
	}
	return &sender{
		close: closeIdle,
		client: &http.Client{
			Transport: transport,
			// A redirect may be a login page; following it would hand it the key.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		url:  strings.TrimRight(o.Host, "/") + ingestPath,
		key:  o.WriteKey,
		gzip: sync.Pool{New: func() any { w, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed); return w }},
	}
}

// send makes an attempt. The error explains a response that is not a plain 200.
func (s *sender) send(ctx context.Context, body []byte) (core.Response, error) {
	var packed bytes.Buffer
	w := s.gzip.Get().(*gzip.Writer)
	defer s.gzip.Put(w)
	w.Reset(&packed)
	if _, err := w.Write(body); err != nil {
		return core.Response{}, err
	}
	if err := w.Close(); err != nil {
		return core.Response{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(packed.Bytes()))
	if err != nil {
		return core.Response{}, err
	}
	req.Header.Set("Authorization", "Bearer "+s.key)
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Content-Encoding", "gzip")
	req.Header.Set("Connect-Protocol-Version", "1")
	req.Header.Set("User-Agent", libraryName+"/"+Version)
	answer, err := s.client.Do(req)
	if err != nil {
		return core.Response{}, err
	}
	defer answer.Body.Close()
	// Reading to the end lets the connection be used again.
	reply, err := io.ReadAll(io.LimitReader(answer.Body, maxResponseBytes+1))
	response := core.Response{Status: answer.StatusCode, RetryAfter: retryAfter(answer.Header.Get("Retry-After"), time.Now())}
	switch kind, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type")); {
	case answer.StatusCode != http.StatusOK:
		return response, fmt.Errorf("the server answered %s%s", answer.Status, excerpt(reply))
	case err != nil:
		return core.Response{}, fmt.Errorf("the answer broke off: %w", err)
	case len(reply) > maxResponseBytes:
		return core.Response{}, errors.New("the answer is longer than 2 MiB")
	case kind != contentType:
		return core.Response{}, fmt.Errorf("the answer is %q, not %s: is Host the address of Causality?", kind, contentType)
	}
	response.Body = reply
	return response, nil
}

// excerpt is the start of a refusal, for the log.
func excerpt(reply []byte) string {
	const most = 200
	text := strings.ToValidUTF8(string(reply[:min(len(reply), most)]), "")
	if text = strings.Join(strings.Fields(text), " "); text == "" {
		return ""
	}
	return ": " + text
}

// retryAfter reads seconds or a date; 0 when there is neither.
func retryAfter(header string, now time.Time) core.Micros {
	if seconds, err := strconv.ParseUint(header, 10, 32); err == nil {
		return core.Micros(seconds) * core.Second
	}
	if at, err := http.ParseTime(header); err == nil && at.After(now) {
		return core.Micros(at.Sub(now).Microseconds())
	}
	return 0
}
