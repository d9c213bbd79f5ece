module github.com/causality-project/causality/sdk/connect

go 1.26.0

require (
	connectrpc.com/connect v1.21.1
	github.com/causality-project/causality/sdk v0.0.0
	google.golang.org/protobuf v1.36.11
)

require (
	go.etcd.io/bbolt v1.5.0 // indirect
	go.yaml.in/yaml/v3 v3.0.6 // indirect
	golang.org/x/sys v0.49.0 // indirect
)

replace github.com/causality-project/causality/sdk => ..
