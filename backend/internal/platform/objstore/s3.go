package objstore

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/logging"
	"golang.org/x/sync/errgroup"
)

const (
	// partSize is what one request uploads at most; an object that is larger
	// goes in parts. A Create holds partsAtOnce+1 of them in memory: 48 MiB.
	partSize    = 16 << 20
	partsAtOnce = 2
	maxParts    = 10_000 // of one object, by S3's own rule: 156 GiB

	// uploadMark is the metadata entry that says which Create made an object. It
	// decides what a lost answer leaves open.
	uploadMark = "causality-upload"

	// abandonedAfter is the age at which an upload in parts that nobody finished
	// is removed: it costs money and is not listed as an object.
	abandonedAfter = 24 * time.Hour
)

// S3Config says which bucket to use and how. Credentials are not part of it:
// they come from the AWS_* variables or the profile that these name.
type S3Config struct {
	Bucket    string        // required
	Prefix    string        // of every key, without slashes at its ends; may be empty
	Endpoint  string        // http(s)://host[:port]; default: Amazon's of the region
	Region    string        // default: AWS_REGION or the profile's; us-east-1 with an endpoint
	PathStyle bool          // bucket in the path instead of the host's name; default with an endpoint
	SSE       string        // AES256 or aws:kms; default: as the bucket says
	KMSKey    string        // key id for aws:kms; default: the account's own
	Attempts  int           // of one request, at most 10; default 6: about 6 s of trouble
	Timeout   time.Duration // of one try, beside a second per MiB; default 15 s
	Logger    *slog.Logger  // required
}

var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// ParseS3 reads s3://bucket/prefix?endpoint=…&region=…&path_style=…&sse=…&kms_key=….
// It reports every wrong part at once.
func ParseS3(text string) (S3Config, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "s3" {
		return S3Config{}, errors.New("give a URL such as s3://bucket/prefix?region=eu-central-1")
	}
	var problems []error
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	c := S3Config{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/")}
	if !bucketName.MatchString(c.Bucket) {
		problem("%q is no name of a bucket: 3 to 63 small letters, digits, dots and dashes", c.Bucket)
	}
	if c.Prefix != "" {
		if err := checkKey(c.Prefix); err != nil {
			problem("the prefix: %w", err)
		}
	}
	if u.User != nil {
		problem("credentials do not belong into the URL; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE")
	}
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		problem("what follows the question mark: %w", err)
	}
	pathStyle := ""
	known := map[string]*string{
		"endpoint": &c.Endpoint, "region": &c.Region, "sse": &c.SSE, "kms_key": &c.KMSKey, "path_style": &pathStyle,
	}
	for name, all := range values {
		target := known[name]
		if target == nil || len(all) != 1 {
			problem("%s: known, once each, are endpoint, region, path_style, sse and kms_key", name)
			continue
		}
		*target = all[0]
	}
	if c.Endpoint != "" {
		e, err := url.Parse(c.Endpoint)
		if err != nil || (e.Scheme != "http" && e.Scheme != "https") || e.Host == "" || e.User != nil {
			problem("endpoint %s: give scheme and host, such as https://minio.example.com:9000", c.Endpoint)
		}
	}
	switch c.SSE {
	case "", string(types.ServerSideEncryptionAes256), string(types.ServerSideEncryptionAwsKms):
	default:
		problem("sse %s: AES256 or aws:kms", c.SSE)
	}
	if c.KMSKey != "" && c.SSE != string(types.ServerSideEncryptionAwsKms) {
		problem("kms_key needs sse=aws:kms")
	}
	c.PathStyle = c.Endpoint != ""
	if pathStyle != "" {
		if c.PathStyle, err = strconv.ParseBool(pathStyle); err != nil {
			problem("path_style %s: true or false", pathStyle)
		}
	}
	return c, errors.Join(problems...)
}

// S3 keeps objects in a bucket of Amazon S3 or of a server that speaks its
// protocol and honours conditional writes. It has no local files: Cache adds
// them.
type S3 struct {
	cfg    S3Config
	client *s3.Client
	where  string // for people

	// checksum of what is uploaded, which the server compares; empty where
	// AWS_REQUEST_CHECKSUM_CALCULATION=when_required says that it knows none.
	checksum types.ChecksumAlgorithm

	log *slog.Logger

	mu      sync.Mutex // guards what follows
	usage   Usage
	checked time.Time
	trouble error // of the last look at the bucket
}

// NewS3 makes a client. It asks the bucket nothing: Check does.
func NewS3(ctx context.Context, cfg S3Config) (*S3, error) {
	if cfg.Logger == nil {
		return nil, errors.New("object store: a logger is required")
	}
	cfg.Attempts = min(cmp.Or(cfg.Attempts, 6), 10)
	cfg.Timeout = cmp.Or(cfg.Timeout, 15*time.Second)
	options := []func(*config.LoadOptions) error{
		config.WithLogger(logging.Nop{}), // what matters comes back as an error
		// The one client of the process: connections are kept for the parallel
		// range reads of questions. A try's end is its context's.
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
			t.MaxIdleConns, t.MaxIdleConnsPerHost, t.IdleConnTimeout = 64, 64, 30*time.Second
			t.TLSHandshakeTimeout = 5 * time.Second
		})),
	}
	if cfg.Region != "" {
		options = append(options, config.WithRegion(cfg.Region))
	}
	shared, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("object store: read the AWS settings: %w", err)
	}
	if shared.Region == "" && cfg.Endpoint != "" {
		shared.Region = "us-east-1" // what servers other than Amazon's expect
	}
	if shared.Region == "" {
		return nil, errors.New("object store: the bucket's region is not known; add ?region=… to --object-store, or set AWS_REGION")
	}
	cfg.Region = shared.Region
	client := s3.NewFromConfig(shared, func(o *s3.Options) {
		if cfg.Endpoint != "" {
			o.BaseEndpoint = aws.String(cfg.Endpoint)
		}
		o.UsePathStyle = cfg.PathStyle
		o.Retryer = aws.NopRetryer{} // try is ours: it knows what a lost answer means
		o.DisableLogOutputChecksumValidationSkipped = true
	})
	checksum := types.ChecksumAlgorithmCrc32
	if shared.RequestChecksumCalculation == aws.RequestChecksumCalculationWhenRequired {
		checksum = ""
	}
	where := "bucket " + cfg.Bucket
	if cfg.Endpoint != "" {
		where += " at " + cfg.Endpoint
	}
	return &S3{cfg: cfg, client: client, where: where, checksum: checksum, log: cfg.Logger}, nil
}

func (s *S3) key(key string) (*string, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	return aws.String(s.prefix() + key), nil
}

func (s *S3) prefix() string {
	if s.cfg.Prefix == "" {
		return ""
	}
	return s.cfg.Prefix + "/"
}

// Create uploads what write writes: in one request up to partSize, in parts
// beyond it. Either way the object appears whole, by a request that the server
// refuses if the key is taken.
func (s *S3) Create(ctx context.Context, key string, write func(io.Writer) error) (int64, error) {
	u, err := s.create(ctx, key, write)
	if err != nil {
		return 0, err
	}
	return u.size, nil
}

func (s *S3) create(ctx context.Context, key string, write func(io.Writer) error) (*upload, error) {
	full, err := s.key(key)
	if err != nil {
		return nil, err
	}
	var random [16]byte
	_, _ = rand.Read(random[:])
	u := &upload{s3: s, key: full, mark: hex.EncodeToString(random[:])}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	u.group, u.ctx = errgroup.WithContext(ctx)
	u.group.SetLimit(partsAtOnce)
	err = write(u)
	switch {
	case err == nil:
		err = s.explain(u.finish(ctx))
	case u.broken != nil: // ours, whatever the caller made of it
		err = s.explain(cmp.Or(u.group.Wait(), u.broken))
	default:
		_ = u.group.Wait()
	}
	if err != nil {
		u.abort(context.WithoutCancel(ctx))
		return nil, fmt.Errorf("create object %s: %w", key, err)
	}
	return u, nil
}

// upload is a Create in hand. Writing blocks while partsAtOnce parts are on
// their way.
type upload struct {
	s3     *S3
	key    *string
	mark   string
	size   int64
	buffer []byte // what no part took; without parts all of the object
	etag   string // of an object that went in one request; empty if the answer was lost
	broken error  // of Write

	id    *string // of an upload in parts; nil: not begun
	group *errgroup.Group
	ctx   context.Context //nolint:containedctx // the group's, for the parts

	mu    sync.Mutex
	parts []types.CompletedPart
}

func (u *upload) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		if len(u.buffer) == partSize {
			if u.broken = u.flush(); u.broken != nil {
				return n, u.broken
			}
		}
		room := min(len(p), partSize-len(u.buffer))
		u.buffer = append(u.buffer, p[:room]...)
		n, p = n+room, p[room:]
		u.size += int64(room)
	}
	return n, nil
}

// flush sends the buffer as the next part.
func (u *upload) flush() error {
	if u.id == nil {
		if err := u.begin(); err != nil {
			return err
		}
	}
	if len(u.parts) == maxParts {
		return fmt.Errorf("it is larger than %d GiB", int64(maxParts)*partSize>>30)
	}
	part := u.buffer
	u.buffer = make([]byte, 0, partSize)
	at := len(u.parts)
	number := aws.Int32(int32(at + 1))
	u.mu.Lock()
	u.parts = append(u.parts, types.CompletedPart{PartNumber: number})
	u.mu.Unlock()
	u.group.Go(func() error {
		return u.s3.retry(u.ctx, int64(len(part)), func(ctx context.Context) error {
			out, err := u.s3.client.UploadPart(ctx, &s3.UploadPartInput{
				Bucket: &u.s3.cfg.Bucket, Key: u.key, UploadId: u.id, PartNumber: number, Body: bytes.NewReader(part),
				ChecksumAlgorithm: u.s3.checksum,
			})
			if err != nil {
				return err
			}
			u.mu.Lock()
			defer u.mu.Unlock()
			done := &u.parts[at]
			done.ETag, done.ChecksumCRC32, done.ChecksumCRC32C, done.ChecksumCRC64NVME = out.ETag, out.ChecksumCRC32, out.ChecksumCRC32C, out.ChecksumCRC64NVME
			done.ChecksumSHA1, done.ChecksumSHA256 = out.ChecksumSHA1, out.ChecksumSHA256
			return nil
		})
	})
	return u.ctx.Err()
}

func (u *upload) begin() error {
	return u.s3.retry(u.ctx, 0, func(ctx context.Context) error {
		out, err := u.s3.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
			Bucket: &u.s3.cfg.Bucket, Key: u.key, Metadata: map[string]string{uploadMark: u.mark}, ChecksumAlgorithm: u.s3.checksum,
			ServerSideEncryption: types.ServerSideEncryption(u.s3.cfg.SSE), SSEKMSKeyId: orNil(u.s3.cfg.KMSKey),
		})
		if err == nil {
			u.id = out.UploadId
		}
		return err
	})
}

func (u *upload) finish(ctx context.Context) error {
	if u.id == nil {
		return u.put(ctx)
	}
	if len(u.buffer) > 0 {
		if err := u.flush(); err != nil {
			return errors.Join(err, u.group.Wait())
		}
	}
	if err := u.group.Wait(); err != nil {
		return err
	}
	return u.appear(ctx, 0, func(ctx context.Context) error {
		_, err := u.s3.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
			Bucket: &u.s3.cfg.Bucket, Key: u.key, UploadId: u.id, IfNoneMatch: aws.String("*"),
			MultipartUpload: &types.CompletedMultipartUpload{Parts: u.parts},
		})
		return err
	})
}

func (u *upload) put(ctx context.Context) error {
	return u.appear(ctx, u.size, func(ctx context.Context) error {
		out, err := u.s3.client.PutObject(ctx, &s3.PutObjectInput{
			Bucket: &u.s3.cfg.Bucket, Key: u.key, IfNoneMatch: aws.String("*"), Body: bytes.NewReader(u.buffer),
			Metadata:             map[string]string{uploadMark: u.mark},
			ServerSideEncryption: types.ServerSideEncryption(u.s3.cfg.SSE), SSEKMSKeyId: orNil(u.s3.cfg.KMSKey),
		})
		if err == nil {
			u.etag = aws.ToString(out.ETag)
		}
		return err
	})
}

// appear sends the request that makes the object visible. A server that refuses
// a key that is taken answers 412, or just closes the connection while the body
// still comes; and an answer can be lost after the object is there. The object's
// own mark tells all of these apart.
func (u *upload) appear(ctx context.Context, size int64, request func(context.Context) error) error {
	return u.s3.retry(ctx, size, func(ctx context.Context) error {
		err := request(ctx)
		if err == nil {
			return nil
		}
		switch kindOf(err) {
		case failTaken, failAbsent: // absent: the upload in parts is over, perhaps because it succeeded
		case failTemporary:
			if ctx.Err() != nil { // the try's time is over; a look needs a little more
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), u.s3.cfg.Timeout)
				defer cancel()
			}
		default:
			return err
		}
		mark, found, headErr := u.s3.markOf(ctx, u.key)
		switch {
		case headErr != nil && kindOf(err) == failTemporary:
			return err // not known; the next try tells. The answer to HEAD has no body that says why.
		case headErr != nil:
			return headErr
		case found && mark == u.mark:
			return nil
		case found:
			return ErrExists
		case kindOf(err) == failTaken: // and free again
			return fmt.Errorf("%w: %w", errChanging, err)
		}
		return err
	})
}

var errChanging = errors.New("the key was taken and is free again")

func (s *S3) markOf(ctx context.Context, key *string) (mark string, found bool, err error) {
	out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.cfg.Bucket, Key: key})
	if err != nil {
		if kindOf(err) == failAbsent {
			return "", false, nil
		}
		return "", false, err
	}
	for name, value := range out.Metadata { // some servers change the case of names
		if strings.EqualFold(name, uploadMark) {
			mark = value
		}
	}
	return mark, true, nil
}

// abort frees the parts of a failed upload. What it misses, sweep finds.
func (u *upload) abort(ctx context.Context) {
	if u.id == nil {
		return
	}
	err := u.s3.retry(ctx, 0, func(ctx context.Context) error {
		_, err := u.s3.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &u.s3.cfg.Bucket, Key: u.key, UploadId: u.id})
		return err
	})
	if err != nil && kindOf(err) != failAbsent {
		u.s3.log.WarnContext(ctx, "the parts of a failed upload could not be removed; a later sweep does", "key", *u.key, "err", err)
	}
}

// Open asks for the object's size. Reads of it are requests of exactly the
// range that they name.
func (s *S3) Open(ctx context.Context, key string) (Reader, error) {
	full, err := s.key(key)
	if err != nil {
		return nil, err
	}
	r := &s3Reader{s3: s, ctx: ctx, key: key}
	err = s.retry(ctx, 0, func(ctx context.Context) error {
		out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.cfg.Bucket, Key: full})
		if err == nil {
			r.size, r.etag = aws.ToInt64(out.ContentLength), aws.ToString(out.ETag)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open object %s: %w", key, s.explain(err))
	}
	return r, nil
}

type s3Reader struct {
	s3   *S3
	ctx  context.Context //nolint:containedctx // io.ReaderAt has none
	key  string
	size int64
	etag string
}

func (r *s3Reader) Size() int64  { return r.size }
func (r *s3Reader) Close() error { return nil }

func (r *s3Reader) ReadAt(p []byte, at int64) (int, error) {
	if at < 0 {
		return 0, errors.New("read before the start of an object")
	}
	if at >= r.size {
		return 0, io.EOF
	}
	want := min(int64(len(p)), r.size-at)
	if want > 0 {
		if _, err := r.s3.get(r.ctx, r.key, r.size, r.etag, Range{at, want}, sliceWriter(p)); err != nil {
			return 0, err
		}
	}
	if want < int64(len(p)) {
		return int(want), io.EOF
	}
	return int(want), nil
}

// sliceWriter takes a range's bytes from its start on.
type sliceWriter []byte

func (w sliceWriter) WriteAt(p []byte, at int64) (int, error) { return copy(w[at:], p), nil }

// get reads one range of an object of a known size into w, whose position 0 is
// the range's start. An object that is not the one of size and etag (empty: not
// known yet) is an error. It may begin to write from the start several times.
func (s *S3) get(ctx context.Context, key string, size int64, etag string, r Range, w io.WriterAt) (found string, err error) {
	full, err := s.key(key)
	if err != nil {
		return "", err
	}
	err = s.retry(ctx, r.Length, func(ctx context.Context) error {
		out, err := s.client.GetObject(ctx, &s3.GetObjectInput{
			Bucket: &s.cfg.Bucket, Key: full, IfMatch: orNil(etag),
			Range: aws.String(fmt.Sprintf("bytes=%d-%d", r.Offset, r.Offset+r.Length-1)),
		})
		if err != nil {
			return err
		}
		defer out.Body.Close()
		if total, ok := totalOf(aws.ToString(out.ContentRange)); ok && total != size {
			return &changedError{fmt.Sprintf("it holds %d bytes where the manifest says %d", total, size)}
		}
		if aws.ToString(out.ContentRange) == "" && r.Length != size {
			return &changedError{"the server ignores byte ranges; use one that honours them"}
		}
		n, err := io.Copy(io.NewOffsetWriter(w, 0), io.LimitReader(out.Body, r.Length))
		if err == nil && n != r.Length {
			err = fmt.Errorf("%w: %d of %d bytes came", io.ErrUnexpectedEOF, n, r.Length)
		}
		found = aws.ToString(out.ETag)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("read object %s: %w", key, s.explain(err))
	}
	return found, nil
}

// totalOf reads the object's size out of "bytes 0-9/100".
func totalOf(contentRange string) (int64, bool) {
	_, text, ok := strings.Cut(contentRange, "/")
	if !ok {
		return 0, false
	}
	total, err := strconv.ParseInt(text, 10, 64)
	return total, err == nil
}

// List follows S3's own order, which is that of whole keys.
func (s *S3) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		var token *string
		for {
			var page *s3.ListObjectsV2Output
			err := s.retry(ctx, 0, func(ctx context.Context) (err error) {
				page, err = s.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{
					Bucket: &s.cfg.Bucket, Prefix: aws.String(s.prefix() + prefix), ContinuationToken: token,
				})
				return err
			})
			if err != nil {
				yield(Object{}, fmt.Errorf("list objects: %w", s.explain(err)))
				return
			}
			for _, o := range page.Contents {
				key := strings.TrimPrefix(aws.ToString(o.Key), s.prefix())
				if checkKey(key) != nil {
					continue // nobody wrote it through this store
				}
				if !yield(Object{Key: key, Bytes: aws.ToInt64(o.Size), ModifiedAt: aws.ToTime(o.LastModified)}, nil) {
					return
				}
			}
			if token = page.NextContinuationToken; !aws.ToBool(page.IsTruncated) || token == nil {
				return
			}
		}
	}
}

// Delete removes an object. Deleting what is gone succeeds, also on a retry.
func (s *S3) Delete(ctx context.Context, key string) error {
	full, err := s.key(key)
	if err != nil {
		return err
	}
	err = s.retry(ctx, 0, func(ctx context.Context) error {
		_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.cfg.Bucket, Key: full})
		if kindOf(err) == failAbsent {
			return nil
		}
		return err
	})
	if err != nil && !errors.Is(s.explain(err), ErrNotFound) {
		return fmt.Errorf("delete object %s: %w", key, s.explain(err))
	}
	return nil
}

// Usage says what Run counted last, and whether the bucket answers, which it
// asks at most every ten seconds. A bucket has no end that could be told.
func (s *S3) Usage(ctx context.Context) (Usage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.checked) > 10*time.Second {
		_, err := s.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &s.cfg.Bucket, Prefix: aws.String(s.prefix()), MaxKeys: aws.Int32(1)})
		if ctx.Err() != nil {
			return Usage{}, ctx.Err()
		}
		s.trouble, s.checked = s.explain(err), time.Now()
	}
	usage := s.usage
	usage.Path = "s3://" + strings.TrimSuffix(s.cfg.Bucket+"/"+s.cfg.Prefix, "/")
	return usage, s.trouble
}

// Run counts the objects every hour and removes abandoned uploads every day,
// until ctx ends. Failures are logged and tried again.
func (s *S3) Run(ctx context.Context) error {
	var swept time.Time
	for {
		if err := s.count(ctx); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "the bucket could not be counted", "err", err)
		}
		if time.Since(swept) > abandonedAfter {
			n, err := s.sweep(ctx, time.Now().Add(-abandonedAfter))
			switch {
			case err != nil && ctx.Err() == nil:
				s.log.WarnContext(ctx, "abandoned uploads could not be removed", "err", err)
			case err == nil:
				swept = time.Now()
			}
			if n > 0 {
				s.log.InfoContext(ctx, "abandoned uploads were removed", "uploads", n)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Hour):
		}
	}
}

func (s *S3) count(ctx context.Context) error {
	var usage Usage
	for object, err := range s.List(ctx, "") {
		if err != nil {
			return err
		}
		usage.Objects++
		usage.UsedBytes += object.Bytes
	}
	s.mu.Lock()
	s.usage = usage
	s.mu.Unlock()
	return nil
}

// sweep aborts uploads in parts that began before a time: nobody finishes them
// any more.
func (s *S3) sweep(ctx context.Context, before time.Time) (removed int, err error) {
	var key, id *string
	for {
		var page *s3.ListMultipartUploadsOutput
		err := s.retry(ctx, 0, func(ctx context.Context) (err error) {
			page, err = s.client.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{
				Bucket: &s.cfg.Bucket, Prefix: aws.String(s.prefix()), KeyMarker: key, UploadIdMarker: id,
			})
			return err
		})
		if err != nil {
			return removed, s.explain(err)
		}
		for _, u := range page.Uploads {
			if !aws.ToTime(u.Initiated).Before(before) {
				continue
			}
			err := s.retry(ctx, 0, func(ctx context.Context) error {
				_, err := s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &s.cfg.Bucket, Key: u.Key, UploadId: u.UploadId})
				return err
			})
			if err != nil && kindOf(err) != failAbsent {
				return removed, s.explain(err)
			}
			removed++
		}
		if key, id = page.NextKeyMarker, page.NextUploadIdMarker; !aws.ToBool(page.IsTruncated) || aws.ToString(key) == "" {
			return removed, nil
		}
	}
}

func orNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// Local has nothing to give: a bucket has no files here. Cache has.
func (s *S3) Local(context.Context, string) (string, error) {
	return "", errors.New("objects of a bucket have no local files without a cache")
}
