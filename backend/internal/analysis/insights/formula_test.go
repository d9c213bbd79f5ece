package insights

import (
	"strings"
	"testing"
)

func TestFormulas(t *testing.T) {
	t.Parallel()
	six, four, zero := 6.0, 4.0, 0.0
	values := map[string]*float64{"A": &six, "B": &four, "Z": &zero, "N": nil}
	ids := map[string]bool{"A": true, "B": true, "Z": true, "N": true, "F": true}
	tests := map[string]string{
		"A/B*100": "150", "A-B-1": "1", "A-(B-1)": "3", "-A+B": "-2", "--A": "6", "2*(A+B)/4": "5", "A+B*2": "14", " .5 * A ": "3",
		"A/Z": "-", "Z/Z": "-", "N+1": "-", "Z*N": "-", "A": "6", "1.25": "1.25", "A/Z*0": "-",
	}
	for expr, want := range tests {
		formulas, fields := compileFormulas([]Formula{{"F", expr}}, ids)
		if len(fields) > 0 {
			t.Errorf("%s: %v", expr, fields)
			continue
		}
		got := "-"
		if v := formulas[0].eval(values); v != nil {
			got = canonical(*v)
		}
		if got != want {
			t.Errorf("%s = %s, want %s", expr, got, want)
		}
	}
}

func TestWrongFormulasSayWhere(t *testing.T) {
	t.Parallel()
	ids := map[string]bool{"A": true, "F": true, "G": true}
	tests := map[string]string{
		"": "character 1", "A+": "character 3: the formula ends", "A//A": "character 3", "(A": "character 3: a ) is missing", "A)": "character 2",
		"X+1": `character 1: there is no series or formula "X"`, "A A": "character 3", "1.2.3": "not a number", "A % 2": `character 3: '%'`, "é": `character 1: 'é'`,
		strings.Repeat("(", 200): "too many parentheses", strings.Repeat("A+", 900): "at most 1,000",
	}
	for expr, want := range tests {
		_, fields := compileFormulas([]Formula{{"F", expr}}, ids)
		if len(fields) != 1 || !strings.Contains(fields[0].Message, want) {
			t.Errorf("%q: %v, want %q", expr, fields, want)
		}
	}
	if _, fields := compileFormulas([]Formula{{"F", "G+1"}, {"G", "F+1"}}, ids); len(fields) != 1 || !strings.Contains(fields[0].Message, "uses itself") {
		t.Errorf("a circle: %v", fields)
	}
}

func FuzzFormula(f *testing.F) {
	for _, s := range []string{"A/B*100", "((", "-(A)", "1e5", "A+é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, expr string) {
		one := 1.0
		formulas, fields := compileFormulas([]Formula{{"F", expr}}, map[string]bool{"A": true, "B": true, "F": true})
		if len(fields) == 0 && len(formulas) == 1 {
			formulas[0].eval(map[string]*float64{"A": &one})
		}
	})
}
