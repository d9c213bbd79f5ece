package ingest

import (
	"bytes"
	"net/netip"
	"net/url"
	"strings"

	"github.com/causality-project/causality/backend/internal/platform/event"
)

// surroundings is what the request itself tells about its events.
type surroundings struct {
	clientIP  netip.Addr
	userAgent string // of a browser; else empty
	browser   bool
	trusted   bool
	ipPolicy  string
	agents    *agents
}

// contextCache reads a context into columns and the rest, and remembers the
// last one of the request.
type contextCache struct {
	source    []byte
	filled    bool
	value     event.Context
	referrer  string
	ip        string
	userAgent string
	rest      []restMember
}

// restMember is a part of the context that has no column: JSON text.
type restMember struct{ group, name, json string }

func (c *contextCache) hit(raw []byte) bool { return c.filled && bytes.Equal(c.source, raw) }

func (c *contextCache) start(raw []byte) *contextCache {
	*c = contextCache{source: raw, rest: c.rest[:0]}
	return c
}

func (c *contextCache) forget() { c.filled = false }

// column is where a part of the context is kept, or nil for the rest.
func (c *contextCache) column(group, name string) *string {
	v := &c.value
	switch group {
	case "":
		switch name {
		case "platform":
			return &v.Platform
		case "locale":
			return &v.Locale
		case "browser":
			return &v.Browser
		case "ip":
			return &c.ip
		case "user_agent":
			return &c.userAgent
		}
	case "app":
		if name == "version" {
			return &v.AppVersion
		}
	case "browser":
		if name == "name" {
			return &v.Browser
		}
	case "device":
		switch name {
		case "model":
			return &v.DeviceModel
		case "type":
			return &v.DeviceType
		}
	case "os":
		switch name {
		case "name":
			return &v.OS
		case "version":
			return &v.OSVersion
		}
	case "page":
		switch name {
		case "url":
			return &v.PageURL
		case "path":
			return &v.PagePath
		case "referrer":
			return &c.referrer
		}
	case "campaign":
		switch name {
		case "source":
			return &v.UTMSource
		case "medium":
			return &v.UTMMedium
		case "name":
			return &v.UTMCampaign
		case "term":
			return &v.UTMTerm
		case "content":
			return &v.UTMContent
		}
	case "library":
		switch name {
		case "name":
			return &v.Library
		case "version":
			return &v.LibraryVersion
		}
	case "geo":
		switch name {
		case "country":
			return &v.Country
		case "region":
			return &v.Region
		case "city":
			return &v.City
		}
	}
	return nil
}

func (c *contextCache) text(group, name, text string) {
	if text == "" {
		return
	}
	if column := c.column(group, name); column != nil {
		*column = text
		return
	}
	c.raw(group, name, view(appendString(nil, text)))
}

func (c *contextCache) raw(group, name, json string) {
	c.rest = append(c.rest, restMember{group, name, json})
}

// finish fills what follows from the rest and returns the context.
func (c *contextCache) finish(s *surroundings) event.Context {
	v := &c.value
	c.finishPage()
	if c.userAgent == "" {
		c.userAgent = s.userAgent
	}
	if c.userAgent != "" {
		c.raw("", "user_agent", view(appendString(nil, c.userAgent)))
		if v.OS == "" || v.Browser == "" || v.DeviceType == "" {
			s.agents.fill(v, c.userAgent)
		}
	}
	if v.Platform == "" && s.browser {
		v.Platform = "web"
	}
	if ip := keptIP(s, c.ip); ip != "" {
		c.raw("", "ip", `"`+ip+`"`)
	}
	v.Rest = c.joinRest()
	c.filled = true
	return c.value
}

func (c *contextCache) finishPage() {
	v := &c.value
	if v.PageURL != "" && (v.PagePath == "" || strings.Contains(v.PageURL, "utm_")) {
		if u, err := url.Parse(v.PageURL); err == nil {
			if v.PagePath == "" {
				v.PagePath = u.Path
			}
			if strings.Contains(u.RawQuery, "utm_") {
				query := u.Query()
				for _, utm := range [...]struct {
					column *string
					name   string
				}{
					{&v.UTMSource, "utm_source"}, {&v.UTMMedium, "utm_medium"}, {&v.UTMCampaign, "utm_campaign"},
					{&v.UTMTerm, "utm_term"}, {&v.UTMContent, "utm_content"},
				} {
					if *utm.column == "" {
						*utm.column = strings.ToValidUTF8(query.Get(utm.name), "\uFFFD")
					}
				}
			}
			v.PagePath = strings.ToValidUTF8(v.PagePath, "\uFFFD")
		}
	}
	if c.referrer != "" {
		c.raw("page", "referrer", view(appendString(nil, c.referrer)))
		if u, err := url.Parse(c.referrer); err == nil {
			v.ReferrerHost = strings.ToLower(u.Hostname())
		}
	}
}

// keptIP is the sender's address as the app's policy keeps it. A write key's
// own claim is not believed; a server's is, since its connection is not the
// person's.
func keptIP(s *surroundings, claimed string) string {
	ip := s.clientIP
	if s.trusted {
		ip, _ = netip.ParseAddr(claimed)
	}
	ip = ip.Unmap().WithZone("")
	if !ip.IsValid() {
		return ""
	}
	switch s.ipPolicy {
	case "keep":
		return ip.String()
	case "drop":
		return ""
	default:
		bits := 48
		if ip.Is4() {
			bits = 24
		}
		prefix, err := ip.Prefix(bits)
		if err != nil {
			return ""
		}
		return prefix.Addr().String()
	}
}

// joinRest writes the members without a column as one JSON object.
func (c *contextCache) joinRest() string {
	if len(c.rest) == 0 {
		return ""
	}
	out := append(make([]byte, 0, 256), '{')
	for i, first := range c.rest {
		if first.name == "" && first.json == "" {
			continue
		}
		if first.group == "" {
			out = appendMember(out, first.name, first.json)
			continue
		}
		written := false
		for _, before := range c.rest[:i] {
			written = written || before.group == first.group
		}
		if written {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(appendString(out, first.group), ':', '{')
		for _, member := range c.rest[i:] {
			if member.group == first.group {
				out = appendMember(out, member.name, member.json)
			}
		}
		out = append(out, '}')
	}
	if out = append(out, '}'); len(out) == 2 {
		return ""
	}
	return view(out)
}

func appendMember(out []byte, name, json string) []byte {
	if out[len(out)-1] != '{' {
		out = append(out, ',')
	}
	return append(append(appendString(out, name), ':'), json...)
}
