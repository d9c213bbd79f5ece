// Package catalog knows which events and properties each app has sent, and which
// it sent in vain. It owns what is observed as events land and the lists that
// people choose from. It refuses to know how events are stored or asked about.
package catalog

import (
	"sync"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
)

// Catalog reads and writes the catalogs of all apps.
type Catalog struct {
	db *tenancy.DB

	mu               sync.Mutex
	memory           map[knownKey]*knownEvent
	promotions       map[promotionKey]keptPromotions
	promotionChanges int // made by this process
}

// New keeps catalogs in db.
func New(db *tenancy.DB) *Catalog {
	return &Catalog{db: db, memory: map[knownKey]*knownEvent{}}
}
