package catalog

import (
	"encoding/json"
	"strings"
)

// Kind is the JSON type of a property's value. Kinds are bits: a property may
// have been seen with several.
type Kind uint8

const (
	Text Kind = 1 << iota
	Number
	Boolean
	List
	Object
)

// kindNames is in the order of the bits, the order they are listed in.
var kindNames = [...]string{"text", "number", "boolean", "list", "object"}

// Names lists the kinds that k holds.
func (k Kind) Names() []string {
	names := make([]string, 0, 1)
	for i, name := range kindNames {
		if k&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// String lists the kinds' names.
func (k Kind) String() string { return strings.Join(k.Names(), ", ") }

// Walk visits the top-level members of a JSON object's text, in one pass and
// without allocating: name and raw are parts of text, raw as it stands in the
// JSON. Members that are null are missing by our semantics and not visited. It
// reports whether text was an object to its end; what came before the first
// fault has been visited.
func Walk(text string, visit func(name string, kind Kind, raw string)) bool {
	at := skipSpace(text, 0)
	if at >= len(text) || text[at] != '{' {
		return false
	}
	at = skipSpace(text, at+1)
	if at < len(text) && text[at] == '}' {
		return skipSpace(text, at+1) == len(text)
	}
	for at < len(text) && text[at] == '"' {
		end := skipString(text, at)
		if end < 0 {
			return false
		}
		name := text[at+1 : end-1]
		if strings.IndexByte(name, '\\') >= 0 && json.Unmarshal([]byte(text[at:end]), &name) != nil {
			return false
		}
		at = skipSpace(text, end)
		if at >= len(text) || text[at] != ':' {
			return false
		}
		at = skipSpace(text, at+1)
		end, kind := skipValue(text, at)
		if end < 0 {
			return false
		}
		if kind != 0 {
			visit(name, kind, text[at:end])
		}
		at = skipSpace(text, end)
		if at >= len(text) {
			return false
		}
		if text[at] == '}' {
			return skipSpace(text, at+1) == len(text)
		}
		if text[at] != ',' {
			return false
		}
		at = skipSpace(text, at+1)
	}
	return false
}

func skipSpace(text string, at int) int {
	for at < len(text) && (text[at] == ' ' || text[at] == '\n' || text[at] == '\t' || text[at] == '\r') {
		at++
	}
	return at
}

// skipString returns the position after the string that opens at at, or -1.
func skipString(text string, at int) int {
	from := at + 1
	for {
		quote := strings.IndexByte(text[from:], '"')
		if quote < 0 {
			return -1
		}
		end := from + quote
		slashes := 0
		for end-1-slashes > at && text[end-1-slashes] == '\\' {
			slashes++
		}
		from = end + 1
		if slashes%2 == 0 {
			return from
		}
	}
}

// skipValue returns the position after the value at at and its kind, 0 for
// null; or -1.
func skipValue(text string, at int) (int, Kind) {
	if at >= len(text) {
		return -1, 0
	}
	switch c := text[at]; {
	case c == '"':
		return skipString(text, at), Text
	case c == '{':
		return skipNested(text, at), Object
	case c == '[':
		return skipNested(text, at), List
	case c == '-' || '0' <= c && c <= '9':
		end := at + 1
		for end < len(text) && strings.IndexByte("0123456789+-.eE", text[end]) >= 0 {
			end++
		}
		return end, Number
	case strings.HasPrefix(text[at:], "true"):
		return at + 4, Boolean
	case strings.HasPrefix(text[at:], "false"):
		return at + 5, Boolean
	case strings.HasPrefix(text[at:], "null"):
		return at + 4, 0
	}
	return -1, 0
}

// skipNested returns the position after the list or object that opens at at,
// by counting brackets outside strings; or -1.
func skipNested(text string, at int) int {
	depth := 0
	for at < len(text) {
		switch text[at] {
		case '"':
			if at = skipString(text, at); at < 0 {
				return -1
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
			if depth == 0 {
				return at + 1
			}
		}
		at++
	}
	return -1
}

// Unquote turns the raw text of a string value into the string.
func Unquote(raw string) string {
	if len(raw) < 2 || raw[0] != '"' {
		return raw
	}
	if strings.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1]
	}
	var s string
	if json.Unmarshal([]byte(raw), &s) != nil {
		return raw
	}
	return s
}
