package duckdb

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/platform/fault"
)

// The functions that people's SQL may call: every scalar, aggregate and window
// function of this DuckDB that reads nothing but its arguments and the clock. A
// name that is not here is refused, so that a new version's functions are
// reviewed before they can be used.
//
//go:embed functions.txt
var functionList string

var functions = nameSet(strings.Fields(functionList))

var tableFunctions = nameSet([]string{"range", "generate_series", "unnest", "json_each", "json_tree", "regexp_split_to_table"})

var (
	queryNodes = nameSet([]string{"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
	tableRefs  = nameSet([]string{"BASE_TABLE", "SUBQUERY", "JOIN", "TABLE_FUNCTION", "EXPRESSION_LIST", "EMPTY", "EMPTY_FROM", "PIVOT", "SHOW_REF"})
	modifiers  = nameSet([]string{
		"ORDER_MODIFIER", "LIMIT_MODIFIER", "DISTINCT_MODIFIER", "LIMIT_PERCENT_MODIFIER", "ORDER_DEFAULT", "ASCENDING", "DESCENDING",
	})
	expressions = nameSet([]string{
		"COLUMN_REF", "CONSTANT", "FUNCTION", "OPERATOR", "COMPARISON", "CONJUNCTION", "CASE", "CAST", "BETWEEN", "STAR", "SUBQUERY", "LAMBDA",
		"LAMBDA_REF", "PARAMETER", "WINDOW", "COLLATE", "POSITIONAL_REFERENCE",
	})
)

func nameSet(names []string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, name := range names {
		set[name] = true
	}
	return set
}

const onlySelect = "Only one SELECT can run here: SELECT, WITH, FROM, VALUES, DESCRIBE, SUMMARIZE, or EXPLAIN of one of these"

// statement is people's SQL after the guard.
type statement struct {
	body    string // one statement without its end
	explain bool
}

// guard refuses everything but one statement that reads the app's own tables.
// parse is DuckDB's json_serialize_sql, so that what is judged is what would
// run: no second reading of SQL exists that could differ.
func guard(sql string, parse func(string) (string, error)) (statement, error) {
	var s statement
	body, words := significant(sql)
	if body == "" {
		return s, fault.InvalidField("sql", "is empty; write a SELECT")
	}
	if strings.EqualFold(words[0].text, "explain") {
		if len(words) > 1 && (strings.EqualFold(words[1].text, "analyze") || words[1].text == "(") {
			return s, fault.InvalidField("sql", "%s. EXPLAIN takes no options here.", onlySelect)
		}
		s.explain = true
		body = body[words[0].end:]
	}
	s.body = strings.TrimSpace(body)
	text, err := parse(s.body)
	if err != nil {
		return s, err
	}
	var tree struct {
		Error    bool             `json:"error"`
		Type     string           `json:"error_type"`
		Message  string           `json:"error_message"`
		Position string           `json:"position"`
		Tree     []map[string]any `json:"statements"`
	}
	if err := json.Unmarshal([]byte(text), &tree); err != nil {
		return s, fmt.Errorf("read the syntax tree: %w", err)
	}
	switch {
	case tree.Error && tree.Type == "not implemented":
		return s, fault.InvalidField("sql", "%s.", onlySelect)
	case tree.Error:
		return s, fault.InvalidField("sql", "%s%s", tree.Message, caret(s.body, tree.Position))
	case len(tree.Tree) != 1:
		return s, fault.InvalidField("sql", "%s; this holds %d statements.", onlySelect, len(tree.Tree))
	}
	for key := range tree.Tree[0] {
		if key != "node" && key != "named_param_map" {
			return s, refused("this statement", key)
		}
	}
	return s, walk(tree.Tree[0]["node"], nameSet(query.Names))
}

func caret(sql, position string) string {
	var at int
	if _, err := fmt.Sscan(position, &at); err != nil || at < 0 || at > len(sql) {
		return ""
	}
	start := strings.LastIndexByte(sql[:at], '\n') + 1
	line := sql[start:]
	if end := strings.IndexByte(line, '\n'); end >= 0 {
		line = line[:end]
	}
	return fmt.Sprintf("\n\nLINE %d: %s\n%s^", strings.Count(sql[:at], "\n")+1, line, strings.Repeat(" ", len([]rune(sql[start:at]))+len("LINE 1: ")))
}

func refused(what, name string) error {
	return fault.InvalidField("sql", "%s (%s) cannot be used here.", what, name)
}

func text(m map[string]any, key string) string {
	s, _ := m[key].(string)
	return s
}

// walk visits a syntax tree. visible holds the tables and common table
// expressions that a name can mean at this place; any other name would reach
// the catalogue or a file.
func walk(v any, visible map[string]bool) error {
	switch v := v.(type) {
	case []any:
		for _, child := range v {
			if err := walk(child, visible); err != nil {
				return err
			}
		}
	case map[string]any:
		visible, err := walkWith(v, visible)
		if err != nil {
			return err
		}
		skip, err := judge(v, visible)
		if err != nil {
			return err
		}
		if text(v, "type") == "RECURSIVE_CTE_NODE" {
			// Only the right side can mean the query itself.
			inner, err := withName(visible, text(v, "cte_name"))
			if err != nil {
				return err
			}
			if err := walk(v["right"], inner); err != nil {
				return err
			}
			skip = append(skip, "right")
		}
		for key, child := range v {
			if key == "cte_map" || slices.Contains(skip, key) {
				continue
			}
			if err := walk(child, visible); err != nil {
				return err
			}
		}
	}
	return nil
}

// walkWith visits the WITH queries of a node and returns what its other parts
// can name. Each query sees those before it and not itself: DuckDB takes a
// query's own name, or a later one's, from the catalogue.
func walkWith(node map[string]any, visible map[string]bool) (map[string]bool, error) {
	with, _ := node["cte_map"].(map[string]any)
	entries, _ := with["map"].([]any)
	for _, entry := range entries {
		entry, _ := entry.(map[string]any)
		if err := walk(entry["value"], visible); err != nil {
			return nil, err
		}
		var err error
		if visible, err = withName(visible, text(entry, "key")); err != nil {
			return nil, err
		}
	}
	return visible, nil
}

func withName(visible map[string]bool, name string) (map[string]bool, error) {
	// A name that could be a file's is not worth the doubt.
	if name == "" || strings.ContainsAny(name, `/\.:*(`) {
		return nil, refused("The name of a WITH query", name)
	}
	inner := maps.Clone(visible)
	inner[strings.ToLower(name)] = true
	return inner, nil
}

// judge decides on one object of the tree and names its parts that are judged
// with it.
func judge(v map[string]any, visible map[string]bool) (skip []string, err error) {
	kind, hasKind := v["type"].(string)
	class, isExpression := v["class"].(string)
	switch {
	case isExpression:
		if !expressions[class] {
			return nil, refused("This expression", class)
		}
		switch class {
		case "FUNCTION", "WINDOW":
			return nil, judgeFunction(v, functions)
		case "CONSTANT":
			return []string{"value"}, nil
		case "CAST":
			return []string{"cast_type"}, nil
		}
	case !hasKind:
	case kind == "BASE_TABLE":
		name := text(v, "table_name")
		if text(v, "schema_name") != "" || text(v, "catalog_name") != "" || v["at_clause"] != nil || !visible[strings.ToLower(name)] {
			for _, part := range []string{"schema_name", "catalog_name"} {
				if s := text(v, part); s != "" {
					name = s + "." + name
				}
			}
			return nil, fault.InvalidField("sql", "There is no table %q; the tables are %s.", name, strings.Join(query.Names[:3], ", ")+" and "+query.Names[3])
		}
	case kind == "TABLE_FUNCTION":
		call, _ := v["function"].(map[string]any)
		if text(call, "class") != "FUNCTION" {
			return nil, refused("This table function", text(call, "class"))
		}
		if err := judgeFunction(call, tableFunctions); err != nil {
			return nil, err
		}
		for _, key := range []string{"children", "filter", "order_bys"} {
			if err := walk(call[key], visible); err != nil {
				return nil, err
			}
		}
		return []string{"function"}, nil
	case kind == "SHOW_REF":
		if show := text(v, "show_type"); v["query"] == nil || text(v, "table_name") != "" || (show != "DESCRIBE" && show != "SUMMARY") {
			return nil, fault.InvalidField("sql", "SHOW cannot be used here; the tables are events, users, groups and sessions, and DESCRIBE events lists columns.")
		}
	case queryNodes[kind], tableRefs[kind], modifiers[kind]:
	case len(v) <= 4 && v["null_order"] != nil: // an ORDER BY term
	default:
		return nil, refused("This part of SQL", kind)
	}
	return nil, nil
}

func judgeFunction(v map[string]any, allowed map[string]bool) error {
	name := strings.ToLower(text(v, "function_name"))
	if schema := text(v, "schema"); (schema != "" && schema != "main") || text(v, "catalog") != "" {
		return refused("A function of another schema", schema+"."+name)
	}
	if !allowed[name] {
		return refused("The function", name)
	}
	return nil
}

// word is a token of SQL; end is where it stops in the significant text.
type word struct {
	text string
	end  int
}

// significant cuts comments and semicolons off both ends of sql, and returns
// the first two tokens. Only the ends matter, so anything odd in between is left
// for DuckDB's parser to judge.
func significant(sql string) (body string, words []word) {
	start, end := -1, 0
	var tokens []word
	for i := 0; i < len(sql); {
		from := i
		switch c := sql[i]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v':
			i++
			continue
		case strings.HasPrefix(sql[i:], "--"):
			if n := strings.IndexByte(sql[i:], '\n'); n >= 0 {
				i += n
			} else {
				i = len(sql)
			}
			continue
		case strings.HasPrefix(sql[i:], "/*"):
			n := strings.Index(sql[i+2:], "*/")
			if n < 0 {
				i = len(sql)
				end = i // unterminated: DuckDB says so
				continue
			}
			i += n + 4
			continue
		case c == ';':
			i++
			continue
		case c == '\'' || c == '"':
			i++
			for i < len(sql) && sql[i] != c {
				i++
			}
			i = min(i+1, len(sql))
		case c == '$':
			n := strings.IndexByte(sql[i+1:], '$')
			tag := ""
			if n >= 0 {
				tag = sql[i : i+n+2]
			}
			if tag == "" || strings.ContainsAny(tag[1:len(tag)-1], " \t\n,;()'\"+-*/=<>") || (len(tag) > 2 && tag[1] >= '0' && tag[1] <= '9') {
				i++
				break
			}
			closing := strings.Index(sql[i+len(tag):], tag)
			if closing < 0 {
				i = len(sql)
			} else {
				i += len(tag) + closing + len(tag)
			}
		case isWordByte(c):
			for i < len(sql) && isWordByte(sql[i]) {
				i++
			}
		default:
			i++
		}
		if start < 0 {
			start = from
		}
		end = i
		if len(tokens) < 2 {
			tokens = append(tokens, word{sql[from:i], i - start})
		}
	}
	if start < 0 {
		return "", nil
	}
	return sql[start:end], tokens
}

func isWordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}
