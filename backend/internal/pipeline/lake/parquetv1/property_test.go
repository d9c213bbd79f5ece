package parquetv1_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	_ "github.com/duckdb/duckdb-go/v2"

	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/parquetv1"
)

// engine answers with the macros that questions use.
type engine struct{ db *sql.DB }

// asked is an object and a property of it.
type asked struct{ object, name string }

func newEngine(t testing.TB) engine {
	t.Helper()
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	for _, statement := range query.TablesOf(query.Snapshot{}).Setup {
		if strings.HasPrefix(statement, "CREATE MACRO") {
			if _, err := db.Exec(statement); err != nil {
				t.Fatal(err)
			}
		}
	}
	return engine{db}
}

// check compares properties of objects with what the engine reads.
func (e engine) check(t testing.TB, questions ...asked) {
	t.Helper()
	for some := range slices.Chunk(questions, 1000) {
		var values strings.Builder
		var arguments []any
		for i, q := range some {
			if i > 0 {
				values.WriteString(", ")
			}
			fmt.Fprintf(&values, "(%d, ?::VARCHAR, ?::VARCHAR)", i)
			arguments = append(arguments, q.object, query.Pointer(q.name))
		}
		rows, err := e.db.Query("SELECT property_text(j, p), text_number(property_text(j, p)), coalesce(json_type(j, p), '') FROM (VALUES "+values.String()+") v(i, j, p) ORDER BY i", arguments...)
		if err != nil {
			t.Fatalf("%s and %d more: %v", some[0].object, len(some)-1, err)
		}
		for _, q := range some {
			var text sql.NullString
			var number sql.NullFloat64
			var kind string
			if !rows.Next() {
				t.Fatalf("the engine answers too little: %v", rows.Err())
			}
			if err := rows.Scan(&text, &number, &kind); err != nil {
				t.Fatal(err)
			}
			compare(t, q.object, q.name, text, number, kind)
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func compare(t testing.TB, object, name string, text sql.NullString, number sql.NullFloat64, kind string) {
	t.Helper()
	properties := parquetv1.NewProperties([]string{"other", name})
	properties.Read([]byte(object))
	value := properties.Value(1)
	if value.Absent() != !text.Valid {
		t.Fatalf("%s of %s: absent %t, the engine reads %v", name, object, value.Absent(), text)
	}
	if value.Absent() {
		return
	}
	compound := kind == "ARRAY" || kind == "OBJECT"
	got, ok := value.Text()
	if ok == compound || ok && string(got) != text.String {
		t.Fatalf("%s of %s is text %q (%t), the engine reads %q, a %s", name, object, got, ok, text.String, kind)
	}
	isNumber := number.Valid && kind != "VARCHAR" && !compound
	n, ok := value.Number()
	if ok != isNumber || ok && (n != number.Float64 || math.Signbit(n) != math.Signbit(number.Float64)) {
		t.Fatalf("%s of %s is number %v (%t), the engine reads %v, a %s", name, object, n, ok, number, kind)
	}
}

func TestPropertiesAreReadAsTheEngineReadsThem(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	var questions []asked
	names := []string{"p", "", "a/b", "m~n", "ключ", `q"uote`, "tab\t", "new\nline", "\x00", "P"}
	for _, name := range names {
		key, err := json.Marshal(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, value := range []string{
			`5`, `5.0`, `-5.0`, `0`, `-0`, `-0.0`, `0.0`, `-0e5`, `0e9`, `1e0`, `1e3`, `1E3`, `1.50`, `1.5e3`, `1e15`, `1e16`, `1e20`, `1e21`, `1e22`, `-1e21`, `1.0E+2`,
			`0.1`, `0.000001`, `0.0000001`, `1e-5`, `1e-6`, `9.99e-7`, `1.5e-9`, `1e-10`, `1e-300`, `1e-400`, `5e-324`, `1.7976931348623157e308`, `1e308`, `1e309`, `-1e400`, `1.0e400`,
			`9007199254740993`, `9007199254740993.0`, `123456789012345678`, `-9223372036854775808`, `-9223372036854775809`, `18446744073709551615`, `18446744073709551616`,
			`18446744073709551616.0`, `123456789012345678901234567890`, `-123456789012345678901234567890`, `123456789012345678901234567890.5`, `1` + strings.Repeat("0", 400), `1` + strings.Repeat("0", 400) + `.0`,
			`""`, `"a"`, `"5"`, `"5.0"`, `"-0.0"`, `"1e3"`, `" 5 "`, `"05"`, `"a\"b\\c\/d"`, `"\b\f\n\r\t"`, `"\u0041\u00e9\ud83d\ude00"`, `"\u0000x"`, `"ä😀"`, `"null"`, `"[1]"`, `"\\"`, `"\\\""`,
			`null`, `true`, `false`, `[]`, `[1, 2.0]`, `["]",{"x":"}"}]`, `{}`, `{"a": {"b": [1]}}`, `{"p": 1}`,
		} {
			for _, object := range []string{
				`{` + string(key) + `:` + value + `}`,
				" { \"x\" : [ \"}\" , {\"p\":9} ],\n\t" + string(key) + " : " + value + " , \"y\" : null } ",
				`{` + string(key) + `:` + value + `,` + string(key) + `:7}`,
				`{` + string(key) + `:null,` + string(key) + `:` + value + `}`,
				`{"x":` + value + `}`,
				`{}`,
			} {
				questions = append(questions, asked{object, name})
			}
		}
		// A name may be written with escapes.
		escaped := ""
		for _, r := range name {
			if r < 0x10000 {
				escaped += fmt.Sprintf(`\u%04x`, r)
			}
		}
		questions = append(questions, asked{`{"` + escaped + `":"found"}`, name})
	}
	e.check(t, questions...)
}

// What is not JSON says nothing, and does no harm.
func TestBrokenObjectsHaveNoValues(t *testing.T) {
	t.Parallel()
	properties := parquetv1.NewProperties([]string{"p"})
	for _, object := range []string{``, `{`, `[]`, `{"p"`, `{"p":`, `{"p":"`, `{"p":"\`, `{"p":"\"`, `{"p":x}`, `{"p":1 2}`, `{"p":[1}`, `{"q":1`, `"p"`, `{p:1}`,
		`{"p":1.}`, `{"p":01}`, `{"p":-}`, `{"p":1e}`, `{"p":"\ud800"}`, `{"p":"\ud800\u0041"}`, `{"p":"\x"}`, `{"p":"\u12"}`, "{\"p\":\"\xff\"}", `{"p":NaN}`} {
		properties.Read([]byte(object))
		v := properties.Value(0)
		if text, ok := v.Text(); ok || v.Absent() {
			t.Errorf("%s reads as %q, absent %t", object, text, v.Absent())
		}
		if n, ok := v.Number(); ok {
			t.Errorf("%s reads as %v", object, n)
		}
	}
}

// Doubles of every size are written as the engine writes them.
func TestDoublesAreWrittenAsTheEngineWritesThem(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	var questions []asked
	random := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		f := math.Float64frombits(random.Uint64())
		switch random.IntN(3) {
		case 0:
			f = math.Round(random.NormFloat64()*1e6) / 100
		case 1:
			f = random.NormFloat64() * math.Pow(10, float64(random.IntN(50)-25))
		}
		if math.IsNaN(f) || math.IsInf(f, 0) {
			continue
		}
		for _, format := range []string{"%v", "%e", "%.3f"} {
			questions = append(questions, asked{`{"p":` + fmt.Sprintf(format, f) + `}`, "p"})
		}
	}
	e.check(t, questions...)
}

// Whatever is JSON is read as the engine reads it.
func FuzzProperties(f *testing.F) {
	for _, seed := range []string{`{"p":5.0}`, `{"a":[1,{"p":2}],"p":"\u00e9"}`, `{"p":null,"p":1}`, `{"\u0070":-0.0}`, `{"p":1e400,"q":"\ud83d\ude00"}`} {
		f.Add(seed)
	}
	e := newEngine(f)
	properties := parquetv1.NewProperties([]string{"p"})
	f.Fuzz(func(t *testing.T, object string) {
		properties.Read([]byte(object))
		_, _ = properties.Value(0).Text()
		_, _ = properties.Value(0).Number()
		var members map[string]any
		if !utf8.ValidString(object) || json.Unmarshal([]byte(object), &members) != nil || members == nil || strings.Contains(object, `\u`) || strings.ContainsRune(object, 0) {
			return // escapes that are not Unicode are the engine's to refuse
		}
		e.check(t, asked{object, "p"})
	})
}
