module github.com/causality-project/causality/sdk/connect

go 1.26.0

require github.com/causality-project/causality/sdk v0.0.0

replace github.com/causality-project/causality/sdk => ..
