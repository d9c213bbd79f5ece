package stream

import (
	"testing"
)

func TestDeadLettersAreListedReplacedAndDeleted(t *testing.T) {
	t.Parallel()
	s := openStream(t, Config{Dir: t.TempDir()})
	ctx := t.Context()
	good := smallBatch(3, "good")
	for _, raw := range [][]byte{AppendBatch(nil, good), []byte("\x2a\xffbroken")} {
		if err := s.DeadLetter(ctx, Live, Message{Seq: 7, Raw: raw}, "a\nreason"); err != nil {
			t.Fatal(err)
		}
	}
	list := func() (letters []*DeadLetter) {
		t.Helper()
		if err := s.EachDeadLetter(ctx, func(l *DeadLetter) error { letters = append(letters, l); return nil }); err != nil {
			t.Fatal(err)
		}
		return letters
	}
	letters := list()
	if len(letters) != 2 || letters[0].Err != nil || letters[0].Batch.Count() != 3 || letters[0].Lane != Live || letters[0].Seq != 7 ||
		letters[0].Reason != "a reason" || letters[0].At.IsZero() || letters[1].Err == nil {
		t.Fatalf("listed %+v", letters)
	}
	count, err := s.CountDead(ctx, nil)
	if err != nil || count.Letters != 2 || count.Events != 3 {
		t.Fatalf("counted %+v, %v", count, err)
	}
	if again, err := s.CountDead(ctx, count); err != nil || again != count {
		t.Errorf("counted anew although nothing has changed: %+v, %v", again, err)
	}

	less := *good
	less.Events = good.Events[:1]
	if err := s.ReplaceDeadLetter(ctx, letters[0], &less); err != nil {
		t.Fatal(err)
	}
	after := list()
	if len(after) != 2 || after[0].Err == nil || after[1].Batch.Count() != 1 || after[1].Replaces != letters[0].Number ||
		after[1].Lane != Live || after[1].Seq != 7 || after[1].Reason != "a reason" {
		t.Fatalf("after replacing: %+v", after)
	}
	for range 2 { // the second time it is gone already
		if err := s.DeleteDeadLetter(ctx, after[1].Number); err != nil {
			t.Fatal(err)
		}
	}
	if left := list(); len(left) != 1 || left[0].Number != letters[1].Number {
		t.Fatalf("left: %+v", left)
	}
	if count, err = s.CountDead(ctx, count); err != nil || count.Letters != 1 || count.Events != 0 {
		t.Errorf("counted %+v, %v", count, err)
	}
}
