package main

import (
	"context"
	"fmt"
	"sort"

	"github.com/causality-project/causality/backend/internal/server/app"
)

type doctorCommand struct{ app.Config }

func (c *doctorCommand) Run(ctx context.Context, t *terminal) error {
	var names []string
	for name := range t.settings.values {
		names = append(names, name)
	}
	sort.Strings(names)
	settings := table{columns: []string{"setting", "value", "from"}}
	for _, name := range names {
		from := t.settings.from[name]
		if from == "" {
			from = "default"
		}
		value := t.settings.values[name]
		if from == "default" && (value == "" || value == "0" || value == "0s" || value == "[]") {
			value = "–" // what the platform does then stands in causality serve --help
		}
		settings.rows = append(settings.rows, []string{name, value, from})
	}
	if err := settings.print(t.Out, "table"); err != nil {
		return err
	}
	wrong := 0
	_, _ = fmt.Fprintln(t.Out)
	for _, check := range app.Examine(ctx, c.Config) {
		mark := "ok   "
		if check.Problem != "" {
			mark = "WRONG"
			wrong++
		}
		text := check.Found
		if check.Problem != "" {
			text = check.Problem
		}
		if _, err := fmt.Fprintf(t.Out, "%s  %s: %s\n", mark, check.Name, text); err != nil {
			return err
		}
	}
	if wrong > 0 {
		return errReported
	}
	return nil
}
