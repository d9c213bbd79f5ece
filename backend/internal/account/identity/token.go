package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"hash/crc32"
	"strings"
)

const (
	base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

	randomLength   = 32 // characters, 190 bits
	checksumLength = 4

	writePrefix  = "wk_"
	secretPrefix = "sk_"
)

type digest = [sha256.Size]byte

// randomText returns 190 random bits as base62.
func randomText() string {
	text := make([]byte, 0, randomLength)
	var pool [64]byte
	for len(text) < randomLength {
		_, _ = rand.Read(pool[:]) // never fails
		for _, b := range pool {
			// 248 is the largest multiple of 62 in a byte: no letter is likelier.
			if b < 248 && len(text) < randomLength {
				text = append(text, base62[b%62])
			}
		}
	}
	return string(text)
}

func newKeyText(prefix string) string {
	text := prefix + randomText()
	return text + checksum(text)
}

// checksum tells a mistyped or invented key from a real one without a look-up.
// It is no secret and guards nothing.
func checksum(text string) string {
	sum := crc32.ChecksumIEEE([]byte(text))
	var out [checksumLength]byte
	for i := range out {
		out[i] = base62[sum%62]
		sum /= 62
	}
	return string(out[:])
}

// wellFormed reports whether raw could have been made by newKeyText.
func wellFormed(raw string) bool {
	body := len(raw) - checksumLength
	return (strings.HasPrefix(raw, writePrefix) || strings.HasPrefix(raw, secretPrefix)) &&
		len(raw) == len(writePrefix)+randomLength+checksumLength && checksum(raw[:body]) == raw[body:]
}
