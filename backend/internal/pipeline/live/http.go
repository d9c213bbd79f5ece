package live

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/platform/event"
	"github.com/causality-project/causality/backend/internal/platform/fault"
)

const (
	pingEvery   = 15 * time.Second // keeps proxies from closing a quiet stream
	missedEvery = 100 * time.Millisecond
)

// Apps resolves the app that a viewer names. tenancy implements it.
type Apps interface {
	Get(ctx context.Context, idOrName string) (tenancy.App, error)
}

// Handler answers GET /v1/live?app=…&event=… with server-sent events: ready,
// event, rejected and missed. The caller has admitted the request and bound its
// workspace; writeError answers what fails before the stream begins, and
// stopping ends all streams when it is closed.
func (h *Hub) Handler(apps Apps, stopping <-chan struct{}, writeError func(http.ResponseWriter, *http.Request, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		wanted := query.Get("app")
		if wanted == "" {
			writeError(w, r, fault.InvalidField("app", "Name the app to watch, as in /v1/live?app=demo"))
			return
		}
		app, err := apps.Get(r.Context(), wanted)
		if err != nil {
			writeError(w, r, err)
			return
		}
		v := newViewer(app.WorkspaceID, app.ID, query["event"])
		if err := h.join(r.Context(), v); err != nil {
			writeError(w, r, err)
			return
		}
		defer h.leave(v)
		header := w.Header()
		header.Set("Content-Type", "text/event-stream")
		header.Set("Cache-Control", "no-store")
		header.Set("X-Accel-Buffering", "no") // or a proxy would keep events back
		w.WriteHeader(http.StatusOK)
		v.stream(r.Context(), w, stopping)
	})
}

// stream writes frames until the viewer goes, a write fails, or the server stops.
func (v *viewer) stream(ctx context.Context, w http.ResponseWriter, stopping <-chan struct{}) {
	control := http.NewResponseController(w)
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	write := func(frame []byte) bool {
		_, err := w.Write(frame)
		return err == nil
	}
	ready := frame("ready", struct {
		At string `json:"at"`
	}{stamp(time.Now())})
	if !write([]byte("retry: 2000\n\n")) || !write(ready) || control.Flush() != nil {
		return
	}
	for {
		ok := true
		select {
		case <-ctx.Done():
			return
		case <-stopping:
			return
		case <-ping.C:
			ok = write([]byte(": ping\n\n"))
		case <-v.lost:
			// Said once in a while: a burst would otherwise be answered with a burst.
			select {
			case <-ctx.Done():
				return
			case <-stopping:
				return
			case <-time.After(missedEvery):
			}
		case next := <-v.frames:
			ok = write(next)
			for more := true; ok && more; { // what waits goes out in one flush
				select {
				case next := <-v.frames:
					ok = write(next)
				default:
					more = false
				}
			}
		}
		if missed := v.missed.Swap(0); ok && missed > 0 {
			ok = write(frame("missed", struct {
				Missed int64 `json:"missed"`
			}{missed}))
		}
		if !ok || control.Flush() != nil {
			return
		}
	}
}

func frame(name string, data any) []byte {
	var out bytes.Buffer
	out.WriteString("event: " + name + "\ndata: ")
	encoder := json.NewEncoder(&out) // ends the line; JSON text holds no line breaks of its own
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(data); err != nil {
		// Stored JSON text that is none: show the event without it rather than not at all.
		return []byte("event: " + name + "\ndata: {\"unreadable\":true}\n\n")
	}
	out.WriteByte('\n')
	return out.Bytes()
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// The JSON shape of an event is the wire contract's, with what the server knows
// beside it.
type wireEvent struct {
	ID                string          `json:"id"`
	Type              string          `json:"type"`
	Name              string          `json:"name"`
	Timestamp         string          `json:"timestamp"`
	OriginalTimestamp string          `json:"originalTimestamp,omitempty"`
	UserID            string          `json:"userId,omitempty"`
	AnonymousID       string          `json:"anonymousId,omitempty"`
	SessionID         string          `json:"sessionId,omitempty"`
	Groups            json.RawMessage `json:"groups,omitempty"`
	CorrelationID     string          `json:"correlationId,omitempty"`
	Context           *wireContext    `json:"context,omitempty"`
	Properties        json.RawMessage `json:"properties,omitempty"`
	Traits            json.RawMessage `json:"traits,omitempty"`
	GroupType         string          `json:"groupType,omitempty"`
	GroupID           string          `json:"groupId,omitempty"`
	PreviousID        string          `json:"previousId,omitempty"`
	ReceivedAt        string          `json:"receivedAt"`
	Seq               uint64          `json:"seq"`
}

type (
	wireContext struct {
		Platform     string          `json:"platform,omitempty"`
		OS           *named          `json:"os,omitempty"`
		App          *versioned      `json:"app,omitempty"`
		Device       *wireDevice     `json:"device,omitempty"`
		Browser      string          `json:"browser,omitempty"`
		Page         *wirePage       `json:"page,omitempty"`
		ReferrerHost string          `json:"referrerHost,omitempty"`
		Campaign     *wireCampaign   `json:"campaign,omitempty"`
		Geo          *wireGeo        `json:"geo,omitempty"`
		Locale       string          `json:"locale,omitempty"`
		Library      *named          `json:"library,omitempty"`
		More         json.RawMessage `json:"more,omitempty"`
	}
	named struct {
		Name    string `json:"name,omitempty"`
		Version string `json:"version,omitempty"`
	}
	versioned struct {
		Version string `json:"version"`
	}
	wireDevice struct {
		Model string `json:"model,omitempty"`
		Type  string `json:"type,omitempty"`
	}
	wirePage struct {
		URL  string `json:"url,omitempty"`
		Path string `json:"path,omitempty"`
	}
	wireCampaign struct {
		Source  string `json:"source,omitempty"`
		Medium  string `json:"medium,omitempty"`
		Name    string `json:"name,omitempty"`
		Term    string `json:"term,omitempty"`
		Content string `json:"content,omitempty"`
	}
	wireGeo struct {
		Country string `json:"country,omitempty"`
		Region  string `json:"region,omitempty"`
		City    string `json:"city,omitempty"`
	}
)

func eventFrame(seq uint64, e *event.Event) []byte {
	return frame("event", wireEvent{
		ID: uuid.UUID(e.ID).String(), Type: e.Type.String(), Name: e.Name,
		Timestamp: stamp(e.TS), OriginalTimestamp: stamp(e.OriginalTS), ReceivedAt: stamp(e.ReceivedAt),
		UserID: e.UserID, AnonymousID: e.AnonymousID, SessionID: e.SessionID, CorrelationID: e.CorrelationID,
		Groups: raw(e.Groups), Properties: raw(e.Properties), Traits: raw(e.Traits),
		GroupType: e.GroupType, GroupID: e.GroupID, PreviousID: e.PreviousID,
		Context: contextOf(&e.Context), Seq: seq,
	})
}

func contextOf(c *event.Context) *wireContext {
	if *c == (event.Context{}) {
		return nil
	}
	return &wireContext{
		Platform: c.Platform, Browser: c.Browser, ReferrerHost: c.ReferrerHost, Locale: c.Locale,
		OS:       present(named{c.OS, c.OSVersion}),
		App:      present(versioned{c.AppVersion}),
		Device:   present(wireDevice{c.DeviceModel, c.DeviceType}),
		Page:     present(wirePage{c.PageURL, c.PagePath}),
		Campaign: present(wireCampaign{c.UTMSource, c.UTMMedium, c.UTMCampaign, c.UTMTerm, c.UTMContent}),
		Geo:      present(wireGeo{c.Country, c.Region, c.City}),
		Library:  present(named{c.Library, c.LibraryVersion}),
		More:     raw(c.Rest),
	}
}

// present keeps empty objects out of the JSON.
func present[T comparable](value T) *T {
	var zero T
	if value == zero {
		return nil
	}
	return &value
}

func raw(text string) json.RawMessage {
	if text == "" {
		return nil
	}
	return json.RawMessage(text)
}

type wireRejected struct {
	Index      int    `json:"index"`
	ID         string `json:"id"`
	Name       string `json:"name"`
	Code       string `json:"code"`
	Field      string `json:"field"`
	Message    string `json:"message"`
	Event      string `json:"event"`
	ReceivedAt string `json:"receivedAt"`
	Seq        uint64 `json:"seq"`
}

func rejectedFrame(seq uint64, receivedAt time.Time, r *event.Rejected) []byte {
	return frame("rejected", wireRejected{
		Index: r.Index, ID: r.ID, Name: r.Name, Code: r.Code, Field: r.Field, Message: r.Message, Event: r.Event,
		ReceivedAt: stamp(receivedAt), Seq: seq,
	})
}
