package ingestrpc

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/causality-project/causality/backend/internal/pipeline/ingest"
	"github.com/causality-project/causality/backend/internal/platform/fault"
	"google.golang.org/protobuf/encoding/protowire"
)

// appendAnswerProto writes causality.ingest.v1.IngestResponse.
func appendAnswerProto(dst []byte, a *ingest.Answer) []byte {
	dst = appendInt(dst, 1, a.Accepted)
	dst = appendInt(dst, 2, a.Duplicates)
	for i := range a.Rejected {
		r := &a.Rejected[i]
		inner := appendInt(nil, 1, r.Index)
		inner = appendText(inner, 2, r.ID)
		inner = appendText(inner, 3, r.Code)
		inner = appendText(inner, 4, r.Field)
		inner = appendText(inner, 5, r.Message)
		dst = protowire.AppendBytes(protowire.AppendTag(dst, 3, protowire.BytesType), inner)
	}
	return dst
}

func appendInt(dst []byte, field protowire.Number, n int) []byte {
	if n == 0 {
		return dst
	}
	return protowire.AppendVarint(protowire.AppendTag(dst, field, protowire.VarintType), uint64(n))
}

func appendText(dst []byte, field protowire.Number, s string) []byte {
	if s == "" {
		return dst
	}
	return protowire.AppendString(protowire.AppendTag(dst, field, protowire.BytesType), s)
}

type rejectionJSON struct {
	Index   int    `json:"index"`
	ID      string `json:"id"`
	Code    string `json:"code"`
	Field   string `json:"field"`
	Message string `json:"message"`
}

// appendAnswerJSON writes the same as protobuf's JSON, zeros included.
func appendAnswerJSON(dst []byte, a *ingest.Answer) []byte {
	dst = strconv.AppendInt(append(dst, `{"accepted":`...), int64(a.Accepted), 10)
	dst = strconv.AppendInt(append(dst, `,"duplicates":`...), int64(a.Duplicates), 10)
	dst = append(dst, `,"rejected":[`...)
	for i := range a.Rejected {
		if i > 0 {
			dst = append(dst, ',')
		}
		r := &a.Rejected[i]
		text, err := json.Marshal(rejectionJSON{r.Index, r.ID, r.Code, r.Field, r.Message})
		if err != nil {
			text = []byte("{}") // text fields alone always marshal
		}
		dst = append(dst, text...)
	}
	return append(dst, "]}\n"...)
}

type errorDetail struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

// writeError answers in Connect's form of an error.
func writeError(w http.ResponseWriter, status int, code, message string, fields []fault.Field) {
	answer := struct {
		Code    string        `json:"code"`
		Message string        `json:"message"`
		Details []errorDetail `json:"details"`
	}{code, message, []errorDetail{}}
	if len(fields) > 0 {
		var value []byte // google.rpc.BadRequest
		for _, f := range fields {
			violation := appendText(appendText(nil, 1, f.Name), 2, f.Message)
			value = protowire.AppendBytes(protowire.AppendTag(value, 1, protowire.BytesType), violation)
		}
		answer.Details = append(answer.Details, errorDetail{"google.rpc.BadRequest", base64.RawStdEncoding.EncodeToString(value)})
	}
	text, err := json.Marshal(answer)
	if err != nil {
		text = []byte(`{"code":"internal"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n'))
}
