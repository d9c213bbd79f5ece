module github.com/causality-project/causality/mobile

go 1.26.0

require (
	github.com/causality-project/causality/sdk v0.0.0
	golang.org/x/mobile v0.0.0-20261011034528-197770444867
)

require (
	go.etcd.io/bbolt v1.5.0 // indirect
	go.yaml.in/yaml/v3 v3.0.6 // indirect
	golang.org/x/mod v0.42.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/tools v0.52.0 // indirect
)

replace github.com/causality-project/causality/sdk => ../sdk

tool golang.org/x/mobile/cmd/gobind

ignore ./build
