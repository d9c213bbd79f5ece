package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A CSV file of real purchases, imported twice, gives the answers that are known
// of it, in SQL and as a trend: repeated rows count, and the second import adds
// nothing. The file is made here with the shape of a shop's export: customers
// keep their leading zeros, and 255 rows repeat another row exactly.
func TestImportedPurchasesGiveTheKnownAnswersTwice(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.start()
	p.run("apps", "create", "shop")

	const customers, repeats = 2_000, 255
	var file strings.Builder
	file.WriteString("customer_id,date,cds,amount_usd\n")
	rows, cents := 0, 0
	months := map[string]int{}
	for customer := range customers {
		for purchase := range 1 + customer%5 {
			month := 1 + (customer+purchase)%12
			date := "1997-" + pad(month, 2) + "-" + pad(1+(customer*7+purchase)%28, 2)
			amount := 100 + customer%900*7 + purchase
			row := pad(customer, 5) + "," + date + "," + pad(1+purchase, 1) + "," + pad(amount/100, 1) + "." + pad(amount%100, 2) + "\n"
			times := 1
			if rows < repeats*10 && purchase == 0 && customer%2 == 0 && customer/2 < repeats {
				times = 2
			}
			for range times {
				file.WriteString(row)
				rows++
				cents += amount
				months[date[:7]]++
			}
		}
	}
	path := filepath.Join(t.TempDir(), "purchases.csv")
	if err := os.WriteFile(path, []byte(file.String()), 0o644); err != nil {
		t.Fatal(err)
	}

	for attempt := range 2 {
		stdout, stderr, code := p.try("import", path, "--app", "shop", "--event", "purchase", "--map", "user_id=customer_id,timestamp=date")
		if code != 0 {
			t.Fatalf("import %d: exit code %d\n%s", attempt, code, stderr)
		}
		if strings.TrimSpace(stdout) != "" {
			t.Errorf("import wrote to stdout: %q", stdout)
		}
		got := p.query("shop", `select count(*), count(distinct user_id), round(sum((properties->>'amount_usd')::decimal(12,2)) * 100)::bigint from events`)
		want := []string{pad(rows, 1), pad(customers, 1), pad(cents, 1)}
		if strings.Join(got[0], " ") != strings.Join(want, " ") {
			t.Fatalf("after import %d: rows, buyers, cents = %v, want %v", attempt+1, got[0], want)
		}
	}
	if got := p.query("shop", "select user_id from events order by user_id limit 1"); got[0][0] != "00000" {
		t.Errorf("the first customer is %q, want 00000 as text", got[0][0])
	}
	if got := p.run("query", "--app", "shop", "--format", "csv", "select count(*) from events"); got != "count_star()\n"+pad(rows, 1) {
		t.Errorf("the query's stdout is %q, want a header and the count alone", got)
	}

	question := filepath.Join(t.TempDir(), "monthly.json")
	if err := os.WriteFile(question, []byte(`{"trend": {"appId": "shop", "range": {"from": "1997-01-01", "to": "1998-01-01"},
		"granularity": "month", "series": [{"id": "A", "event": "purchase", "measure": "total"},
		{"id": "B", "event": "purchase", "measure": "uniqueUsers"},
		{"id": "C", "event": "purchase", "measure": {"property": "amount_usd", "agg": "sum"}}]}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	var trend struct {
		Series []struct {
			ID     string
			Total  float64
			Points []struct {
				Start    string
				Value    *float64
				Complete bool
			}
		}
	}
	if err := json.Unmarshal([]byte(p.run("insight", question, "--format", "json")), &trend); err != nil {
		t.Fatal(err)
	}
	if len(trend.Series) != 3 || len(trend.Series[0].Points) != 12 {
		t.Fatalf("want three series of twelve months, have %+v", trend)
	}
	for _, point := range trend.Series[0].Points {
		if got := int(*point.Value); got != months[point.Start[:7]] {
			t.Errorf("%s: %d purchases, want %d", point.Start, got, months[point.Start[:7]])
		}
	}
	if trend.Series[1].Total != customers {
		t.Errorf("buyers over the year: %v, want %d", trend.Series[1].Total, customers)
	}
	if difference := trend.Series[2].Total*100 - float64(cents); difference > 0.5 || difference < -0.5 {
		t.Errorf("amount over the year: %v, want %d cents", trend.Series[2].Total, cents)
	}
}

func pad(n, width int) string {
	text := ""
	for n > 0 || text == "" {
		text = string(rune('0'+n%10)) + text
		n /= 10
	}
	for len(text) < width {
		text = "0" + text
	}
	return text
}
