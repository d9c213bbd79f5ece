package ingest

import (
	"log/slog"
	"strings"
	"sync"

	"github.com/causality-project/causality/backend/internal/platform/event"
	"github.com/ua-parser/uap-go/uaparser"
	"golang.org/x/time/rate"
)

const (
	maxAgents      = 4096
	maxAgentLength = 1024
	// A user agent that was not seen before costs some 2 ms; a flood of made-up
	// ones must not take the front door's CPU. Past this rate the columns stay
	// empty, and the text itself is kept.
	agentsPerSecond = 100
)

// agents reads user agents. Its patterns take 12 MB and are loaded with the
// first user agent that needs them; a server of phone apps never does.
type agents struct {
	log   *slog.Logger
	load  sync.Once
	parse *uaparser.Parser
	limit *rate.Limiter

	mu    sync.RWMutex
	known map[string]agent
}

type agent struct{ os, osVersion, browser, deviceModel, deviceType string }

func newAgents(log *slog.Logger) *agents {
	return &agents{log: log, limit: rate.NewLimiter(agentsPerSecond, 2*agentsPerSecond), known: map[string]agent{}}
}

// fill sets the columns that the sender left empty.
func (a *agents) fill(c *event.Context, text string) {
	if len(text) > maxAgentLength {
		return
	}
	a.mu.RLock()
	found, ok := a.known[text]
	a.mu.RUnlock()
	if !ok {
		if !a.limit.Allow() {
			return
		}
		if found, ok = a.read(text); !ok {
			return
		}
		a.mu.Lock()
		if len(a.known) >= maxAgents {
			clear(a.known) // rarer than the cost of keeping an order
		}
		a.known[strings.Clone(text)] = found
		a.mu.Unlock()
	}
	if c.OS == "" {
		c.OS = found.os
		if c.OSVersion == "" {
			c.OSVersion = found.osVersion
		}
	}
	set(&c.Browser, found.browser)
	set(&c.DeviceModel, found.deviceModel)
	set(&c.DeviceType, found.deviceType)
}

func set(column *string, value string) {
	if *column == "" {
		*column = value
	}
}

func (a *agents) read(text string) (agent, bool) {
	a.load.Do(func() {
		var err error
		if a.parse, err = uaparser.New(); err != nil {
			a.log.Error("user agents cannot be read; their columns stay empty", "err", err)
		}
	})
	if a.parse == nil {
		return agent{}, false
	}
	client := a.parse.Parse(strings.Clone(text))
	found := agent{
		os:          known(client.Os.Family),
		osVersion:   client.Os.ToVersionString(),
		browser:     known(client.UserAgent.Family),
		deviceModel: known(client.Device.Model),
	}
	found.deviceType = deviceType(client.Device.Family, found.os, text)
	return found, true
}

func known(family string) string {
	if family == "Other" {
		return ""
	}
	return family
}

func deviceType(family, os, text string) string {
	switch {
	case family == "Spider":
		return "bot"
	case os == "iOS" && strings.Contains(family, "iPad"):
		return "tablet"
	case os == "iOS":
		return "phone"
	case os == "Android" && !strings.Contains(text, "Mobile"):
		return "tablet"
	case os == "Android":
		return "phone"
	case os == "Windows", os == "Mac OS X", os == "Linux", os == "Ubuntu", os == "Fedora", os == "Chrome OS":
		return "desktop"
	}
	return ""
}
