package causality

import (
	"encoding/json"
	"testing"
)

func TestTypedEventsSendWhatIsSetUnderItsCanonicalName(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		event      Event
		want       string
		properties string
	}{
		"empty":      {AppStart{}.Event("u1"), "app_start", `{}`},
		"a zero":     {PermissionResult{Permission: "camera", Granted: new(false)}.Event("u1"), "permission_result", `{"granted":false,"permission":"camera"}`},
		"a list":     {UserProfileUpdate{Fields: []string{"email", "plan"}}.Event("u1"), "user_profile_update", `{"fields":["email","plan"]}`},
		"renamed":    {ErrorEvent{Message: "broken", Handled: new(true)}.Event("u1"), "error", `{"handled":true,"message":"broken"}`},
		"whole":      {ScreenExit{ScreenName: "cart", DurationMS: new(int64(1 << 40))}.Event("u1"), "screen_exit", `{"duration_ms":1099511627776,"screen_name":"cart"}`},
		"with parts": {PurchaseComplete{OrderID: "o1", Revenue: new(12.5), Products: []Product{{ProductID: "p1", Quantity: new(2)}, {Name: "pen"}}}.Event("u1"), "purchase_complete", `{"order_id":"o1","products":[{"product_id":"p1","quantity":2},{"name":"pen"}],"revenue":12.5}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := json.Marshal(tt.event.Properties)
			if err != nil || string(got) != tt.properties || tt.event.Name != tt.want || tt.event.UserID != "u1" {
				t.Errorf("%q of %q with %s (%v), want %q of u1 with %s", tt.event.Name, tt.event.UserID, got, err, tt.want, tt.properties)
			}
		})
	}
}
