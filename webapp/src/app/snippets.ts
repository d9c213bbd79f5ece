// The first lines an engineer copies, with their server's address and key inside.

/** The same snippet everywhere: Home, Settings. */
export function goSnippet(host: string, key: string): string {
  return `package main

import (
	"context"
	"log"

	"github.com/causality-project/causality/sdk"
)

func main() {
	client, err := causality.New(causality.Options{
		Host:     "${host}",
		WriteKey: "${key}",
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close(context.Background()) // sends what is left

	err = client.Track(context.Background(), causality.Event{
		Name:       "signup",
		UserID:     "u1",
		Properties: causality.Properties{"plan": "pro"},
	})
	if err != nil {
		log.Print(err)
	}
}
`;
}

export function curlSnippet(host: string, key: string): string {
  return `curl ${host}/v1/events \\
  -H "Authorization: Bearer ${key}" \\
  -d '[{"name": "signup", "user_id": "u1", "properties": {"plan": "pro"}}]'
`;
}
