package insights

import (
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/causality-project/causality/backend/internal/platform/fault"
)

// A formula is parsed once into a closure over the values of series and of the
// formulas before it. A nil value is "no value": it spreads, and x/0 is one.
type formula struct {
	id   string
	eval func(values map[string]*float64) *float64
	uses []string
}

// compileFormulas parses all formulas and orders them so that each comes after
// those it uses. ids are all names of the question.
func compileFormulas(specs []Formula, ids map[string]bool) (ordered []formula, fields []fault.Field) {
	parsed := map[string]formula{}
	position := map[string]int{}
	for i, spec := range specs {
		p := parser{text: spec.Expr, ids: ids}
		f := formula{id: spec.ID, eval: p.formula()}
		f.uses = p.uses
		position[spec.ID] = i
		if p.problem != "" {
			fields = append(fields, fault.Field{
				Name:    fmt.Sprintf("formulas[%d].expr", i),
				Message: fmt.Sprintf("character %d: %s", utf8.RuneCountInString(spec.Expr[:min(p.problemAt, len(spec.Expr))])+1, p.problem),
			})
			continue
		}
		parsed[spec.ID] = f
	}
	state := map[string]int{} // 1 in hand, 2 done
	var visit func(id string) bool
	visit = func(id string) bool {
		f, ok := parsed[id]
		if !ok || state[id] == 2 {
			return true
		}
		if state[id] == 1 {
			return false
		}
		state[id] = 1
		for _, other := range f.uses {
			if !visit(other) {
				return false
			}
		}
		state[id] = 2
		ordered = append(ordered, f)
		return true
	}
	for i, spec := range specs {
		if !visit(spec.ID) {
			fields = append(fields, fault.Field{Name: fmt.Sprintf("formulas[%d].expr", i), Message: spec.ID + " uses itself, directly or through another formula"})
			break
		}
	}
	return ordered, fields
}

type node func(map[string]*float64) *float64

// parser reads: sum = product {(+|-) product}; product = unary {(*|/) unary};
// unary = {+|-} atom; atom = number | id | "(" sum ")".
type parser struct {
	text      string
	at        int
	depth     int
	ids       map[string]bool
	uses      []string
	problem   string
	problemAt int
}

func (p *parser) fail(at int, format string, args ...any) node {
	if p.problem == "" {
		p.problem, p.problemAt = fmt.Sprintf(format, args...), at
	}
	return func(map[string]*float64) *float64 { return nil }
}

func (p *parser) peek() byte {
	for p.at < len(p.text) && (p.text[p.at] == ' ' || p.text[p.at] == '\t') {
		p.at++
	}
	if p.at >= len(p.text) {
		return 0
	}
	return p.text[p.at]
}

func (p *parser) formula() func(map[string]*float64) *float64 {
	if len(p.text) > 1_000 {
		return p.fail(1_000, "a formula has at most 1,000 characters")
	}
	if p.peek() == 0 {
		return p.fail(0, "write a formula such as A/B*100")
	}
	n := p.sum()
	if p.problem != "" {
		return n
	}
	if p.peek() != 0 {
		r, _ := utf8.DecodeRuneInString(p.text[p.at:])
		return p.fail(p.at, "%q is not expected here", r)
	}
	return n
}

func (p *parser) sum() node {
	left := p.product()
	for p.problem == "" {
		switch p.peek() {
		case '+':
			p.at++
			left = binary(left, p.product(), func(a, b float64) float64 { return a + b })
		case '-':
			p.at++
			left = binary(left, p.product(), func(a, b float64) float64 { return a - b })
		default:
			return left
		}
	}
	return left
}

func (p *parser) product() node {
	left := p.unary()
	for p.problem == "" {
		switch p.peek() {
		case '*':
			p.at++
			left = binary(left, p.unary(), func(a, b float64) float64 { return a * b })
		case '/':
			p.at++
			left = binary(left, p.unary(), func(a, b float64) float64 { return a / b })
		default:
			return left
		}
	}
	return left
}

// binary is null when a side is, or when the result is no finite number.
func binary(left, right node, op func(a, b float64) float64) node {
	return func(values map[string]*float64) *float64 {
		a, b := left(values), right(values)
		if a == nil || b == nil {
			return nil
		}
		result := op(*a, *b)
		if math.IsNaN(result) || math.IsInf(result, 0) {
			return nil
		}
		return &result
	}
}

func (p *parser) unary() node {
	negative := false
	for {
		switch p.peek() {
		case '-':
			negative = !negative
			p.at++
			continue
		case '+':
			p.at++
			continue
		}
		break
	}
	n := p.atom()
	if !negative {
		return n
	}
	zero := func(map[string]*float64) *float64 { return new(float64) }
	return binary(zero, n, func(a, b float64) float64 { return a - b })
}

func (p *parser) atom() node {
	const maxParentheses = 100
	c := p.peek()
	start := p.at
	switch {
	case c == '(':
		if p.depth++; p.depth > maxParentheses {
			return p.fail(start, "too many parentheses")
		}
		p.at++
		n := p.sum()
		if p.problem != "" {
			return n
		}
		if p.peek() != ')' {
			return p.fail(p.at, "a ) is missing; the ( is at character %d", start+1)
		}
		p.at++
		p.depth--
		return n
	case c >= '0' && c <= '9' || c == '.':
		for p.at < len(p.text) && (p.text[p.at] >= '0' && p.text[p.at] <= '9' || p.text[p.at] == '.') {
			p.at++
		}
		value, err := strconv.ParseFloat(p.text[start:p.at], 64)
		if err != nil {
			return p.fail(start, "%q is not a number", p.text[start:p.at])
		}
		return func(map[string]*float64) *float64 { return &value }
	case c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z':
		for p.at < len(p.text) && (isLetter(p.text[p.at]) || p.text[p.at] >= '0' && p.text[p.at] <= '9' || p.text[p.at] == '_') {
			p.at++
		}
		id := p.text[start:p.at]
		if !p.ids[id] {
			return p.fail(start, "there is no series or formula %q", id)
		}
		p.uses = append(p.uses, id)
		return func(values map[string]*float64) *float64 { return values[id] }
	case c == 0:
		return p.fail(p.at, "the formula ends where a number or a series is expected")
	default:
		r, _ := utf8.DecodeRuneInString(p.text[p.at:])
		return p.fail(p.at, "%q is not expected here", r)
	}
}

func isLetter(c byte) bool { return c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' }
