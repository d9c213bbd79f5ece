package merge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/causality-project/causality/backend/internal/pipeline/lake/columnar"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/parquetv1"
)

// texts is a column of text of one input.
type texts struct {
	codes      []int32 // by row
	dictionary *columnar.Dictionary
}

// text is a row's text; empty where it has none.
func (t *texts) text(row int) string {
	if code := t.codes[row]; code >= 0 {
		return string(t.dictionary.Text(code))
	}
	return ""
}

func textsOf(ctx context.Context, job *Job, in *parquetv1.File, index int) (t texts, err error) {
	t.dictionary = columnar.NewDictionary()
	t.codes, err = appendTexts(ctx, job, in, index, make([]int32, 0, in.Rows()), t.dictionary, nil)
	return t, err
}

// appendTexts appends the codes of a column of an input. It ends early when
// enough says so; nil: it never does.
func appendTexts(ctx context.Context, job *Job, in *parquetv1.File, index int, codes []int32, dictionary *columnar.Dictionary, enough func(rows int) bool) (_ []int32, err error) {
	reader := in.Texts(index)
	defer func() { err = errors.Join(err, reader.Close()) }()
	end := len(codes) + int(in.Rows())
	var known []int32 // by the input's code: ours + 1
	for {
		text, err := reader.Next()
		if errors.Is(err, io.EOF) {
			if len(codes) != end {
				err = fmt.Errorf("column %d ends at row %d of %d", index, len(codes)-end+int(in.Rows()), in.Rows())
				return codes, err
			}
			return codes, nil
		}
		if err != nil {
			return codes, err
		}
		if text.NewDictionary {
			known = slices.Grow(known[:0], text.Dictionary())[:text.Dictionary()]
			clear(known)
		}
		codes = appendPage(codes, text, known, dictionary)
		if enough != nil && enough(len(codes)) {
			return codes, nil
		}
		if err := job.Pace(ctx); err != nil {
			return codes, err
		}
	}
}

func appendPage(codes []int32, text *parquetv1.Text, known []int32, dictionary *columnar.Dictionary) []int32 {
	if text.Dictionary() == 0 {
		last := int32(columnar.Absent)
		for range text.Rows {
			switch value := text.Value(); {
			case value == nil:
				codes = append(codes, columnar.Absent)
			case last >= 0 && bytes.Equal(dictionary.Text(last), value):
				codes = append(codes, last)
			default:
				last = dictionary.Code(value)
				codes = append(codes, last)
			}
		}
		return codes
	}
	theirs := text.Codes()
	translate := func(code int32) int32 {
		ours := known[code]
		if ours == 0 {
			ours = dictionary.Code(text.Entry(code)) + 1
			known[code] = ours
		}
		return ours - 1
	}
	present := text.Present()
	if present == nil {
		for _, code := range theirs {
			codes = append(codes, translate(code))
		}
		return codes
	}
	next := 0
	for _, level := range present {
		if level == 0 {
			codes = append(codes, columnar.Absent)
			continue
		}
		codes = append(codes, translate(theirs[next]))
		next++
	}
	return codes
}
