// Command other is somebody else's Go library in the same C program.
package main

import "C"

import "fmt"

//export OtherText
func OtherText(n C.int) *C.char { return C.CString(fmt.Sprint("other ", n)) }

func main() {}
