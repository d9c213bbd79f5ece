package trino

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	client "github.com/trinodb/trino-go-client/trino"

	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/platform/fault"
)

// token is a piece of SQL. Words are in small letters, quoted identifiers as
// they are named.
type token struct {
	kind       tokenKind
	text       string
	start, end int
}

type tokenKind uint8

const (
	word   tokenKind = iota // a keyword or a name
	quoted                  // "a name"
	symbol                  // one character
	value                   // text or a number
)

func (t token) is(text string) bool { return (t.kind == word || t.kind == symbol) && t.text == text }

func (t token) name() bool { return t.kind == word || t.kind == quoted }

// lex cuts SQL into tokens as Trino does. What is not finished ends with the text;
// Trino then says what is missing.
func lex(sql string) []token {
	var tokens []token
	for i := 0; i < len(sql); {
		start := i
		switch c := sql[i]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
			continue
		case strings.HasPrefix(sql[i:], "--"):
			if n := strings.IndexAny(sql[i:], "\r\n"); n >= 0 {
				i += n
			} else {
				i = len(sql)
			}
			continue
		case strings.HasPrefix(sql[i:], "/*"):
			if n := strings.Index(sql[i+2:], "*/"); n >= 0 {
				i += n + 4
			} else {
				i = len(sql)
			}
			continue
		case c == '\'' || c == '"' || c == '`':
			var text strings.Builder
			for i++; i < len(sql); i++ {
				if sql[i] == c {
					if i+1 >= len(sql) || sql[i+1] != c {
						break
					}
					i++
				}
				text.WriteByte(sql[i])
			}
			i = min(i+1, len(sql))
			kind := quoted
			if c == '\'' {
				kind = value
			}
			tokens = append(tokens, token{kind, text.String(), start, i})
		case c >= '0' && c <= '9':
			for i < len(sql) && (wordByte(sql[i]) || sql[i] == '.') {
				i++
			}
			tokens = append(tokens, token{value, sql[start:i], start, i})
		case wordByte(c):
			for i < len(sql) && wordByte(sql[i]) {
				i++
			}
			tokens = append(tokens, token{word, strings.ToLower(sql[start:i]), start, i})
		default:
			_, size := utf8.DecodeRuneInString(sql[i:])
			i += size
			tokens = append(tokens, token{symbol, sql[start:i], start, i})
		}
	}
	return tokens
}

func wordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

const onlySelect = "Only one SELECT can run here: SELECT, WITH, VALUES, TABLE, or EXPLAIN of one of these"

func invalid(format string, args ...any) error { return fault.InvalidField("sql", format, args...) }

// guard refuses what is not one SELECT over the tables that are given. It is the
// second wall: what a user may read is decided by Trino's rules, which hold for
// whatever passes here. It reads tokens, not grammar: every table must be one
// name, so that none reaches the catalogues, and functions have no schema.
func guard(tokens []token) error {
	if len(tokens) == 0 {
		return invalid("is empty; write a SELECT")
	}
	switch first := tokens[0]; {
	case first.is("with"):
		// WITH FUNCTION and WITH SESSION define functions and set properties.
		if len(tokens) > 2 && (tokens[1].is("function") || tokens[1].is("session")) && tokens[2].name() && !tokens[2].is("as") {
			return invalid("%s; WITH %s cannot be used here.", onlySelect, strings.ToUpper(tokens[1].text))
		}
	case first.is("select"), first.is("values"), first.is("table"), first.is("("):
	default:
		return invalid("%s.", onlySelect)
	}
	type frame struct {
		query    bool // holds a SELECT: FROM is its clause, not part of an expression
		from     bool // within FROM
		relation bool // a table comes next
	}
	frames := []frame{{query: true}}
	for i := 0; i < len(tokens); i++ {
		t, f := tokens[i], &frames[len(frames)-1]
		next := func(n int) token {
			if i+n < len(tokens) {
				return tokens[i+n]
			}
			return token{kind: symbol}
		}
		switch {
		case t.kind == quoted && strings.HasPrefix(t.text, "$"):
			return invalid("The column %q cannot be used here.", t.text)
		case t.is(";"):
			return invalid("%s; this holds more than one statement.", onlySelect)
		case t.is("("):
			frames = append(frames, frame{from: f.relation, relation: f.relation})
			f.relation = false
		case t.is(")"):
			if len(frames) == 1 {
				return invalid("A ) is not expected here.")
			}
			frames = frames[:len(frames)-1]
		case t.is("select"):
			*f = frame{query: true}
		case t.is("from"):
			if f.query && !(i > 0 && tokens[i-1].is("distinct")) { // IS DISTINCT FROM compares
				f.from, f.relation = true, true
			}
		case t.is("join"), t.is(",") && f.from:
			f.relation = true
		case t.is("table"):
			if next(1).is("(") {
				return invalid("Table functions cannot be used here.")
			}
			f.relation = f.relation || next(1).name()
		case t.is("where"), t.is("group"), t.is("having"), t.is("order"), t.is("limit"), t.is("offset"), t.is("fetch"), t.is("window"), t.is("union"), t.is("intersect"), t.is("except"):
			f.from, f.relation = false, false
		case t.name():
			parts := []string{t.text}
			for next(1).is(".") && next(2).name() {
				i += 2
				parts = append(parts, tokens[i].text)
				if strings.HasPrefix(tokens[i].text, "$") {
					return invalid("The column %q cannot be used here.", tokens[i].text)
				}
			}
			if len(parts) > 1 && next(1).is("(") {
				return invalid("A function of another schema (%s) cannot be used here.", strings.Join(parts, "."))
			}
			if f.relation && !next(1).is("(") && (len(parts) > 1 || hidden[strings.ToLower(t.text)]) {
				return noTable(strings.Join(parts, "."))
			}
			f.relation = false
		}
	}
	return nil
}

func noTable(name string) error {
	return invalid("There is no table %q; the tables are %s and %s.", name, strings.Join(query.Names[:3], ", "), query.Names[3])
}

var place = regexp.MustCompile(`^line (\d+):(\d+): `)

// message is what Trino says, with its place in the text that a person wrote.
func (c composed) message(reason *client.ErrTrino) string {
	text := reason.Message
	var line, column int
	if m := place.FindStringSubmatch(text); m != nil {
		_, _ = fmt.Sscan(m[1]+" "+m[2], &line, &column)
		text = strings.TrimPrefix(text, m[0])
	}
	line -= c.before
	lines := strings.Split(c.body, "\n")
	if line < 1 || line > len(lines) || column < 1 {
		return text
	}
	at := []rune(lines[line-1])
	column = min(column, len(at)+1)
	if reason.ErrorName == "MISSING_CATALOG_NAME" || reason.ErrorName == "MISSING_SCHEMA_NAME" {
		if tokens := lex(string(at[column-1:])); len(tokens) > 0 {
			text = strings.TrimPrefix(noTable(tokens[0].text).Error(), "sql: ")
		}
	}
	return fmt.Sprintf("%s\n\nLINE %d: %s\n%s^", text, line, string(at), strings.Repeat(" ", column-1+len(fmt.Sprintf("LINE %d: ", line))))
}
