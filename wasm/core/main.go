// Command core is the client core of sdk/core compiled to WebAssembly: what a
// browser's worker runs instead of the TypeScript core, over the same queue.
//
// It owns the boundary: events arrive as JSON text, everything else and every
// answer as a tape of numbers and bytes (tape.go), through one exported function
// (call.go). It refuses to know storage, network and clock, as the core does; its
// one source of randomness is imported. Every byte of it is downloaded by
// browsers, so it imports neither encoding/json nor strconv's floats: the host has
// printed each number already, and can read one as well.
//
// One instance holds one core and one visitor. ../build makes dist/core.wasm.
package main

func main() {}
