// Package failpoint lets a test kill the process at a named point of a promise,
// such as after an object is written and before it is listed. Builds without
// the tag "failpoints" carry none of it.
package failpoint
