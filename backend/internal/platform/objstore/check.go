package objstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/google/uuid"

	"github.com/causality-project/causality/backend/internal/platform/fault"
)

// Check writes, reads, lists and deletes a small object, and makes sure that the
// server refuses to overwrite it. A server that does not is no store for us: two
// replicas could each believe that they wrote an object. Faults with RetryAfter
// pass by themselves; others need a person.
func (s *S3) Check(ctx context.Context) (err error) {
	key := "check/" + uuid.NewString()
	text := []byte("Causality checks that it can use this bucket. Delete this if you find it.")
	if _, err := s.Create(ctx, key, func(w io.Writer) error { _, err := w.Write(text); return err }); err != nil {
		return err
	}
	defer func() {
		deleted := s.Delete(context.WithoutCancel(ctx), key)
		if err = cmp.Or(err, deleted); err == nil {
			if _, opened := s.Open(ctx, key); !errors.Is(opened, ErrNotFound) {
				err = cmp.Or(opened, error(fault.New(fault.Unsupported, "The %s still has an object that was deleted.", s.where)))
			}
		}
	}()
	if err := s.checkRefusal(ctx, key); err != nil {
		return err
	}
	read := make(sliceWriter, 9)
	if _, err := s.get(ctx, key, int64(len(text)), "", Range{10, 9}, read); err != nil {
		return err
	}
	if !bytes.Equal(read, text[10:19]) {
		return fault.New(fault.Unsupported, "The %s answers a range of bytes with others; it cannot be used.", s.where)
	}
	for object, err := range s.List(ctx, key) {
		if err != nil {
			return err
		}
		if object.Key == key {
			return nil
		}
	}
	return fault.New(fault.Unsupported, "The %s does not list an object that was just written; it cannot be used.", s.where)
}

func (s *S3) checkRefusal(ctx context.Context, key string) error {
	ignores := func(what string) error {
		return fault.New(fault.Unsupported, "The server of %s ignores If-None-Match %s: it would let two writers overwrite each other. Use one with conditional writes, such as Amazon S3, or versitygw.", s.where, what)
	}
	_, err := s.Create(ctx, key, func(w io.Writer) error { _, err := io.WriteString(w, "overwritten"); return err })
	if err == nil {
		return ignores("when an object is put")
	}
	if !errors.Is(err, ErrExists) {
		return err
	}
	full, err := s.key(key)
	if err != nil {
		return err
	}
	u := &upload{s3: s, key: full, ctx: ctx, mark: "check"}
	if err := u.begin(); err != nil {
		return s.explain(err)
	}
	defer u.abort(context.WithoutCancel(ctx))
	part, err := s.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: &s.cfg.Bucket, Key: full, UploadId: u.id, PartNumber: aws.Int32(1), Body: bytes.NewReader([]byte("overwritten")), ChecksumAlgorithm: s.checksum,
	})
	if err != nil {
		return s.explain(err)
	}
	_, err = s.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &s.cfg.Bucket, Key: full, UploadId: u.id, IfNoneMatch: aws.String("*"),
		MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{{PartNumber: aws.Int32(1), ETag: part.ETag, ChecksumCRC32: part.ChecksumCRC32}}},
	})
	switch {
	case err == nil:
		return ignores("when an upload in parts is completed")
	case kindOf(err) == failTaken:
		return nil
	}
	return fmt.Errorf("check uploads in parts: %w", s.explain(err))
}
