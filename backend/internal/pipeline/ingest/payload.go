package ingest

import (
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// The typed events: each is a message of event.v1 whose fields become the
// event's properties. A test holds these tables equal to the contract.

type fieldKind uint8

const (
	kindText fieldKind = iota
	kindBool
	kindInt
	kindNumber
	kindTexts
	kindProducts
)

func (k fieldKind) wire() protowire.Type {
	switch k {
	case kindBool, kindInt:
		return protowire.VarintType
	case kindNumber:
		return protowire.Fixed64Type
	default:
		return protowire.BytesType
	}
}

type payloadField struct {
	number protowire.Number
	name   string
	kind   fieldKind
}

type payload struct {
	number protowire.Number // of the oneof in Event
	name   string           // canonical
	fields []payloadField
}

var productFields = []payloadField{{1, "product_id", kindText}, {2, "name", kindText}, {3, "category", kindText}, {4, "brand", kindText}, {5, "variant", kindText}, {6, "price", kindNumber}, {7, "quantity", kindInt}}

var payloads = []payload{
	{101, "user_login", []payloadField{{1, "method", kindText}, {2, "success", kindBool}, {3, "failure_reason", kindText}}},
	{102, "user_logout", []payloadField{{1, "reason", kindText}}},
	{103, "user_signup", []payloadField{{1, "method", kindText}, {2, "referral_code", kindText}, {3, "plan", kindText}}},
	{104, "user_profile_update", []payloadField{{1, "fields", kindTexts}}},
	{105, "screen_view", []payloadField{{1, "screen_name", kindText}, {2, "screen_class", kindText}, {3, "previous_screen", kindText}}},
	{106, "screen_exit", []payloadField{{1, "screen_name", kindText}, {2, "duration_ms", kindInt}}},
	{107, "button_tap", []payloadField{{1, "button_id", kindText}, {2, "label", kindText}, {3, "screen_name", kindText}}},
	{108, "swipe_gesture", []payloadField{{1, "direction", kindText}, {2, "screen_name", kindText}, {3, "target", kindText}}},
	{109, "scroll_event", []payloadField{{1, "screen_name", kindText}, {2, "depth", kindNumber}}},
	{110, "text_input", []payloadField{{1, "field_id", kindText}, {2, "screen_name", kindText}, {3, "length", kindInt}}},
	{111, "long_press", []payloadField{{1, "target", kindText}, {2, "screen_name", kindText}, {3, "duration_ms", kindInt}}},
	{112, "double_tap", []payloadField{{1, "target", kindText}, {2, "screen_name", kindText}}},
	{113, "product_view", []payloadField{{1, "product_id", kindText}, {2, "name", kindText}, {3, "category", kindText}, {4, "brand", kindText}, {5, "variant", kindText}, {6, "price", kindNumber}, {7, "currency", kindText}}},
	{114, "add_to_cart", []payloadField{{1, "product_id", kindText}, {2, "name", kindText}, {3, "category", kindText}, {4, "brand", kindText}, {5, "variant", kindText}, {6, "price", kindNumber}, {7, "quantity", kindInt}, {8, "currency", kindText}, {9, "cart_id", kindText}}},
	{115, "remove_from_cart", []payloadField{{1, "product_id", kindText}, {2, "name", kindText}, {3, "price", kindNumber}, {4, "quantity", kindInt}, {5, "currency", kindText}, {6, "cart_id", kindText}}},
	{116, "checkout_start", []payloadField{{1, "cart_id", kindText}, {2, "value", kindNumber}, {3, "currency", kindText}, {4, "item_count", kindInt}, {5, "coupon", kindText}}},
	{117, "checkout_step", []payloadField{{1, "cart_id", kindText}, {2, "step", kindInt}, {3, "step_name", kindText}, {4, "payment_method", kindText}, {5, "shipping_method", kindText}}},
	{118, "purchase_complete", []payloadField{{1, "order_id", kindText}, {2, "revenue", kindNumber}, {3, "currency", kindText}, {4, "tax", kindNumber}, {5, "shipping", kindNumber}, {6, "discount", kindNumber}, {7, "coupon", kindText}, {8, "payment_method", kindText}, {9, "products", kindProducts}, {10, "item_count", kindInt}}},
	{119, "purchase_failed", []payloadField{{1, "order_id", kindText}, {2, "value", kindNumber}, {3, "currency", kindText}, {4, "reason", kindText}, {5, "payment_method", kindText}}},
	{120, "app_start", []payloadField{{1, "cold", kindBool}, {2, "duration_ms", kindInt}, {3, "source", kindText}}},
	{121, "app_background", []payloadField{{1, "foreground_ms", kindInt}}},
	{122, "app_foreground", []payloadField{{1, "background_ms", kindInt}}},
	{123, "app_crash", []payloadField{{1, "exception_type", kindText}, {2, "message", kindText}, {3, "stack_trace", kindText}, {4, "fatal", kindBool}}},
	{124, "network_change", []payloadField{{1, "from", kindText}, {2, "to", kindText}}},
	{125, "permission_request", []payloadField{{1, "permission", kindText}, {2, "screen_name", kindText}}},
	{126, "permission_result", []payloadField{{1, "permission", kindText}, {2, "granted", kindBool}}},
	{127, "memory_warning", []payloadField{{1, "level", kindText}, {2, "available_bytes", kindInt}}},
	{128, "battery_change", []payloadField{{1, "level", kindNumber}, {2, "charging", kindBool}}},
	{129, "page_view", []payloadField{{1, "url", kindText}, {2, "path", kindText}, {3, "title", kindText}, {4, "referrer", kindText}}},
	{130, "search", []payloadField{{1, "query", kindText}, {2, "results", kindInt}, {3, "category", kindText}}},
	{131, "share", []payloadField{{1, "method", kindText}, {2, "content_type", kindText}, {3, "content_id", kindText}}},
	{132, "notification_received", []payloadField{{1, "notification_id", kindText}, {2, "campaign", kindText}, {3, "title", kindText}}},
	{133, "notification_opened", []payloadField{{1, "notification_id", kindText}, {2, "campaign", kindText}, {3, "action", kindText}}},
	{134, "error", []payloadField{{1, "exception_type", kindText}, {2, "message", kindText}, {3, "stack_trace", kindText}, {4, "source", kindText}, {5, "handled", kindBool}}},
	{135, "custom", []payloadField{{1, "name", kindText}, {2, "category", kindText}, {3, "label", kindText}, {4, "value", kindNumber}}},
}

const firstPayload = 101 // field number of payloads[0]; they follow without gaps

// payloadNames finds a typed event by its snake_case or camelCase name.
var payloadNames = func() map[string]*payload {
	names := make(map[string]*payload, 2*len(payloads))
	for i := range payloads {
		names[payloads[i].name] = &payloads[i]
		names[camel(payloads[i].name)] = &payloads[i]
	}
	return names
}()

func camel(snake string) string {
	out := make([]byte, 0, len(snake))
	upper := false
	for i := range len(snake) {
		c := snake[i]
		switch {
		case c == '_':
			upper = true
		case upper && 'a' <= c && c <= 'z':
			out = append(out, c-'a'+'A')
			upper = false
		default:
			out = append(out, c)
			upper = false
		}
	}
	return string(out)
}

// appendFields appends the members of a payload message as JSON, without the
// braces, in the order of the contract. Members whose name skip holds are left
// out. It reports false for a message that cannot be read or a number that JSON
// cannot hold.
func appendFields(dst, message []byte, fields []payloadField, skip func(string) bool) ([]byte, bool) {
	if size, ok := wellFormed(message); !ok || size == 0 {
		return dst, ok
	}
	start := len(dst)
	for i := range fields {
		f := &fields[i]
		if skip != nil && skip(f.name) {
			continue
		}
		before := len(dst)
		if len(dst) > start {
			dst = append(dst, ',')
		}
		dst = appendString(dst, f.name)
		dst = append(dst, ':')
		var found, ok bool
		if dst, found, ok = appendField(dst, message, f); !ok {
			return dst, false
		}
		if !found {
			dst = dst[:before]
		}
	}
	return dst, true
}

// appendField appends a field's value; the last one on the wire wins, except in
// lists.
func appendField(dst, message []byte, f *payloadField) (_ []byte, found, ok bool) {
	start := len(dst)
	for w := (wire{data: message}); w.next(); {
		if w.number != f.number || w.kind != f.kind.wire() {
			continue
		}
		list := f.kind == kindTexts || f.kind == kindProducts
		switch {
		case !list:
			dst = dst[:start]
		case found:
			dst[len(dst)-1] = ','
		default:
			dst = append(dst, '[')
		}
		switch f.kind {
		case kindText, kindTexts:
			if !validText(w.bytes) {
				return dst, false, false
			}
			dst = appendString(dst, view(w.bytes))
		case kindBool:
			dst = strconv.AppendBool(dst, w.varint != 0)
		case kindInt:
			dst = strconv.AppendInt(dst, int64(w.varint), 10)
		case kindNumber:
			n := math.Float64frombits(w.varint)
			if math.IsNaN(n) || math.IsInf(n, 0) {
				return dst, false, false
			}
			dst = appendNumber(dst, n)
		case kindProducts:
			dst = append(dst, '{')
			if dst, ok = appendFields(dst, w.bytes, productFields, nil); !ok {
				return dst, false, false
			}
			dst = append(dst, '}')
		}
		if list {
			dst = append(dst, ']')
		}
		found = true
	}
	return dst, found, true
}

// appendNumber writes a double as JSON writes it: the shortest text that reads
// back the same.
func appendNumber(dst []byte, n float64) []byte {
	if size := math.Abs(n); size != 0 && (size < 1e-6 || size >= 1e21) {
		return strconv.AppendFloat(dst, n, 'e', -1, 64)
	}
	return strconv.AppendFloat(dst, n, 'f', -1, 64)
}
