//go:build tools

package mobile

// The generated bindings import it, so that its version is this module's.
import _ "golang.org/x/mobile/bind"
