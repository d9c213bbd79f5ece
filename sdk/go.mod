module github.com/causality-project/causality/sdk

go 1.26.0

require (
	go.etcd.io/bbolt v1.5.0
	pgregory.net/rapid v1.3.0
)

require golang.org/x/sys v0.45.0 // indirect
