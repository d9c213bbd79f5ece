package causality_test

import (
	"compress/gzip"
	"encoding/binary"
	"io"
	"net/http"
	"net/http/httptest"
)

// server stands in for Causality in the examples: it takes every event.
var server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	unpacked, err := gzip.NewReader(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	body, err := io.ReadAll(unpacked)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	events := 0
	for len(body) > 0 { // every field of the request is length-delimited
		tag, n := binary.Uvarint(body)
		length, m := binary.Uvarint(body[n:])
		body = body[uint64(n+m)+length:]
		if tag>>3 == 1 {
			events++
		}
	}
	w.Header().Set("Content-Type", "application/proto")
	_, _ = w.Write(binary.AppendUvarint([]byte{1 << 3}, uint64(events)))
}))
