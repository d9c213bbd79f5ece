package core

import "testing"

func TestClassify(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		status, events int
		want           verdict
	}{
		"accepted":                   {200, 50, accept},
		"no answer":                  {0, 50, retry},
		"captive portal":             {302, 50, retry},
		"other success":              {204, 50, retry},
		"malformed":                  {400, 50, split},
		"malformed, single event":    {400, 1, discard},
		"unknown key":                {401, 50, pause},
		"revoked key":                {403, 1, pause},
		"wrong route":                {404, 1, retry},
		"timeout":                    {408, 1, retry},
		"too large, can split":       {413, 2, split},
		"too large, single event":    {413, 1, discard},
		"wrong content type":         {415, 1, retry},
		"too early":                  {425, 1, retry},
		"too many":                   {429, 1, retry},
		"server failed":              {500, 1, retry},
		"server unavailable":         {503, 50, retry},
		"status that does not exist": {999, 1, retry},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := classify(tt.status, tt.events); got != tt.want {
				t.Errorf("classify(%d, %d) = %v, want %v", tt.status, tt.events, got, tt.want)
			}
		})
	}
}

func TestBackoffDoublesFromOneSecondToFiveMinutesWithFullJitter(t *testing.T) {
	t.Parallel()
	for failures, bound := range map[int]Micros{
		1: Second, 2: 2 * Second, 5: 16 * Second, 9: 256 * Second, 10: 300 * Second, 1_000_000: 300 * Second,
	} {
		if got := backoff(failures, uint64(bound)); got != bound {
			t.Errorf("longest wait after %d failures is %d, want %d", failures, got, bound)
		}
		if got := backoff(failures, uint64(bound)+1); got != 0 {
			t.Errorf("shortest wait after %d failures is %d, want 0", failures, got)
		}
	}
}

func TestIDsGrowWhateverTheClockDoes(t *testing.T) {
	t.Parallel()
	g := ids{random: func() uint64 { return 0x123456789abcdef0 }}
	var id [36]byte
	last := ""
	for i := range 20_000 {
		now := Micros(1_790_000_000) * Second
		if i%3 == 0 {
			now -= Hour
		}
		g.next(&id, now)
		if string(id[:]) <= last {
			t.Fatalf("%s follows %s", id, last)
		}
		if last = string(id[:]); last[14] != '7' || last[19] != '9' || last[8] != '-' || last[23] != '-' {
			t.Fatalf("%s is not a UUIDv7", last)
		}
	}
}
