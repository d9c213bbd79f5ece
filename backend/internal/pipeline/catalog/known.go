package catalog

import "sync"

// knownEvent remembers which properties of an event are stored, so that names
// beyond the bound are cut and samples are only taken while they are wanted.
// Names are only ever added; what another process adds meanwhile is met again
// by the upsert, which merges.
type knownEvent struct {
	mu         sync.Mutex
	loaded     bool
	properties map[string]bool // whether enough samples are kept
}

// look reports whether the property is stored, with samples enough, and how many
// are. Before the first load nobody knows; loadKnown settles it then.
func (k *knownEvent) look(name string) (full, have bool, size int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	full, have = k.properties[name]
	return full, have, len(k.properties)
}

func (k *knownEvent) isLoaded() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.loaded
}

func (k *knownEvent) load(stored map[string]bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for name, full := range stored {
		k.properties[name] = k.properties[name] || full
	}
	k.loaded = true
}

func (k *knownEvent) learn(seen map[string]*seenProperty) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for name, p := range seen {
		k.properties[name] = k.properties[name] || len(p.samples) >= maxSamples
	}
}

func (k *knownEvent) size() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.properties)
}

type knownKey struct{ appID, event string }

func (c *Catalog) known(appID, event string) *knownEvent {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := knownKey{appID, event}
	k := c.memory[key]
	if k == nil {
		k = &knownEvent{properties: map[string]bool{}}
		c.memory[key] = k
	}
	return k
}

// bound forgets everything once too much is remembered; it is read again as it
// is needed.
func (c *Catalog) bound() {
	c.mu.Lock()
	defer c.mu.Unlock()
	total := len(c.memory)
	for _, k := range c.memory {
		total += k.size()
	}
	if total > maxKnown {
		clear(c.memory)
	}
}

// Forget drops what is remembered of an app, after its catalog was cleared.
func (c *Catalog) Forget(appID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key := range c.memory {
		if key.appID == appID {
			delete(c.memory, key)
		}
	}
}
