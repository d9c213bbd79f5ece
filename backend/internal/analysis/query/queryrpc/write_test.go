package queryrpc

import (
	"testing"

	"github.com/causality-project/causality/backend/internal/analysis/query"
)

func TestFormatsKeepTheText(t *testing.T) {
	t.Parallel()
	columns := []query.Column{{Name: "id", Type: "VARCHAR"}, {Name: "n,n", Type: "BIGINT"}, {Name: "id", Type: "DOUBLE"}, {Name: "ok", Type: "BOOLEAN"}}
	rows := [][]query.Cell{
		{{Text: "00001"}, {Text: "7"}, {Text: "0.5"}, {Text: "true"}},
		{{Text: "a \"b\"\nc"}, {Text: "9007199254740993"}, {Text: "NaN"}, {Null: true}},
		{{Text: ""}, {Null: true}, {Text: "1"}, {Text: "false"}},
	}
	for format, want := range map[string]string{
		"csv": "id,\"n,n\",id,ok\n00001,7,0.5,true\n\"a \"\"b\"\"\nc\",9007199254740993,NaN,\n\"\",,1,false\n",
		"json": `{"id":"00001","n,n":7,"id_2":0.5,"ok":true}` + "\n" + `{"id":"a \"b\"\nc","n,n":"9007199254740993","id_2":"NaN","ok":null}` + "\n" +
			`{"id":"","n,n":null,"id_2":1,"ok":false}` + "\n",
	} {
		var got []byte
		w, err := newWriter(format, func(data []byte) error { got = append(got, data...); return nil })
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Columns(columns); err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			if err := w.Row(row); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.flush(); err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%s:\n%s\nwant\n%s", format, got, want)
		}
	}
	if _, err := newWriter("xml", nil); err == nil {
		t.Error("xml is taken")
	}
}
