// The first lines of a sender, complete: they run as they are.

export function goSnippet(origin: string, key: string): string {
  return `package main

import (
	"context"
	"log"

	"github.com/causality-project/causality/sdk"
)

func main() {
	client, err := causality.New(causality.Options{
		Host:     "${origin}",
		WriteKey: "${key}",
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close(context.Background()) // sends what waits

	err = client.Track(context.Background(), causality.Event{
		Name:       "signup",
		UserID:     "u1",
		Properties: causality.Properties{"plan": "pro"},
	})
	if err != nil {
		log.Print(err)
	}
}`;
}

export const goInstall = "go get github.com/causality-project/causality/sdk";

export function curlSnippet(origin: string, key: string): string {
  return `curl ${origin}/v1/events \\
  -H 'Authorization: Bearer ${key}' \\
  -d '[{"name":"signup","user_id":"u1","properties":{"plan":"pro"}}]'`;
}
