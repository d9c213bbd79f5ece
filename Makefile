# Everything here is safe to repeat. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
BINARY := backend/causality
ASSETS := backend/internal/server/web/dist
SDK_ASSETS := backend/internal/server/web/sdk
LDFLAGS := -X main.version=$(VERSION)
GO_SOURCES := $(shell find backend sdk proto -name '*.go' -o -name '*.sql' -o -name 'go.mod' 2>/dev/null | grep -v _test.go)
SDK_SOURCES := $(shell find wasm/js/src wasm/js/build.mjs wasm/js/package-lock.json -type f 2>/dev/null)
CORE_SOURCES := $(shell find wasm/core sdk/core -name '*.go' ! -name '*_test.go' 2>/dev/null) wasm/go.mod wasm/build
WEB_SOURCES := $(shell find webapp/src webapp/index.html webapp/vite.config.ts webapp/package-lock.json 2>/dev/null)

.PHONY: help
help: ## List the targets
	@awk 'BEGIN{FS=":.*## "} /^[a-z][a-z/-]*:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Install what is missing, or say what to install
	@.ci/setup

# Only tests and measurements need a browser and a JDK.
run build dev: export SETUP_FOR := build

.PHONY: run
run: build ## Serve the sample shop and print its address (ARGS="--listen …" to pass flags)
	@$(BINARY) demo $(ARGS)

.PHONY: build
build: setup $(BINARY) ## Build the web app, the browser SDK and the one binary

$(BINARY): $(GO_SOURCES) $(ASSETS)/index.html $(SDK_ASSETS)/causality.js
	@echo "building $(BINARY)"
	@cd backend && go build -trimpath -ldflags '$(LDFLAGS)' -o causality ./cmd/causality

$(ASSETS)/index.html: $(WEB_SOURCES)
	@echo "building the web app"
	@cd webapp && npm run --silent build -- --logLevel warn
	@find $(ASSETS) -mindepth 1 ! -name .gitkeep -delete
	@cp -R webapp/dist/. $(ASSETS)/
	@find $(ASSETS)/assets -type f \( -name "*.js" -o -name "*.css" \) -exec gzip -9 -n -k {} +

wasm/js/dist/core.wasm: $(CORE_SOURCES)
	@echo "building the client core as WebAssembly"
	@wasm/build

wasm/js/dist/causality.js: $(SDK_SOURCES)
	@echo "building the browser SDK"
	@cd wasm/js && npm run --silent build

$(SDK_ASSETS)/causality.js: wasm/js/dist/causality.js wasm/js/dist/core.wasm
	@.ci/embed-sdk wasm/js/dist $(SDK_ASSETS)

.PHONY: dev
dev: build ## Serve the sample shop with the web app reloading on change
	@trap 'kill 0' EXIT; $(BINARY) demo $(ARGS) & cd webapp && npm run dev

.PHONY: test
test: ## Everything CI runs: lint, generated code, Go, web, end to end, browser
	@.ci/test

.PHONY: test-swift
test-swift: ## The Swift wrapper's tests on Linux (fetches a Swift toolchain, 0.6 GB, the first time)
	@mobile/ios/test

.PHONY: soak
soak: setup build ## Replicas under kills, cuts and outages for SOAKTIME (default 10m)
	@cd backend/e2e && SOAKTIME=$(or $(SOAKTIME),10m) go test -count=1 -timeout 3h -v -tags soak -run '^TestSoak' ./...

.PHONY: lint
lint: setup ## Check formatting, vet, staticcheck, buf, web lint and types
	@.ci/lint

.PHONY: generate
generate: setup ## Regenerate Go, TypeScript and the typed events of every SDK from proto
	@webapp/node_modules/.bin/buf generate --template proto/buf.gen.yaml

.PHONY: bench
bench: setup build ## Measure against the goals; writes backend/bench/latest.json
	@.ci/bench

.PHONY: fuzz
fuzz: ## Fuzz every decoder for FUZZTIME each (default 30s)
	@.ci/fuzz $(or $(FUZZTIME),30s)

.PHONY: fmt
fmt: setup ## Format Go and web sources
	@gofmt -w $$(git ls-files '*.go' | grep -v '^proto/gen/')
	@cd webapp && npm run --silent format

.PHONY: tidy
tidy: ## Tidy every Go module
	@for module in proto sdk sdk/connect sdk/otel wasm mobile backend backend/e2e; do (cd $$module && GOWORK=off go mod tidy); done
