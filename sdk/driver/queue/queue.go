// Package queue keeps the blocks of events that no server has acknowledged, in
// memory or in a file. It knows nothing of batches, time or delivery: the core
// decides what is kept and what is deleted.
package queue

import (
	"errors"

	"github.com/causality-project/causality/sdk/core"
)

var (
	// ErrLocked means that another process, or another client of this one, has the
	// file open.
	ErrLocked = errors.New("the queue file is in use by another process or client")
	// ErrDamaged means that the file cannot be trusted. Reset begins a new one.
	ErrDamaged = errors.New("the queue file is damaged")
)

// Contents is what a queue held when it was opened.
type Contents struct {
	State    []byte
	Blocks   []core.BlockInfo // in order
	SetAside string           // where a damaged file was moved to, if there was one
	Damage   error            // what was wrong with it
}
