module github.com/causality-project/causality/backend/e2e

go 1.26.0

require github.com/causality-project/causality/sdk v0.0.0

require (
	github.com/stretchr/testify v1.12.1 // indirect
	go.etcd.io/bbolt v1.5.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)

replace github.com/causality-project/causality/sdk => ../../sdk
