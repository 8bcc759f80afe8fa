# Everything that is built or downloaded lands in bin/.
BIN := $(CURDIR)/bin
TOOLS := controller-gen sqlc kustomize golangci-lint helm kube-score promtool benchstat govulncheck crd-ref-docs actionlint cyclonedx-gomod kubebuilder

# The image that `make deploy` runs and `make docker-build` builds.
IMG ?= verity-sync:dev
CONTAINER_TOOL ?= docker
# kubectl of PATH, else the one that comes with the control plane.
KUBECTL ?= $(or $(shell command -v kubectl),$(BIN)/k8s/kubectl)
ignore-not-found ?= false
# Where the files of a release are written, and what they are built for.
DIST ?= dist
PLATFORMS ?= linux/amd64 linux/arm64
# 1 ends `make run` after the first round.
ONCE ?=
# The rows that `make bench` measures, and how often; empty measures all.
ROWS ?=
REPS ?=
# How long `make bloat` and `make bloat-settings` run.
DURATION ?=
# Further flags of `go test`, such as TESTFLAGS=-v, and the packages to test.
TESTFLAGS ?=
PACKAGES ?= ./...

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT ?= $(shell git rev-parse HEAD 2>/dev/null)
DATE ?= $(shell git log -1 --format=%cI 2>/dev/null)
version := github.com/dfmiddleware/verity-sync/internal/version
LDFLAGS := -s -w -X $(version).Version=$(VERSION) -X $(version).Commit=$(COMMIT) -X $(version).Date=$(DATE)

# Programs, and tests without the race detector, are built with the same flags, so that shared packages are compiled once.
build := hack/go-build.sh
test := CGO_ENABLED=0 go test -trimpath
# The tools that tests run.
TEST_TOOLS := helm kustomize kube-score promtool cyclonedx-gomod controller-gen kubebuilder

# What `make manifests generate api-docs` writes.
GENERATED := api config/crd/bases config/chart config/prometheus config/receiver config/manager config/migrate config/samples internal/store/dbsqlc \
	docs/api.md docs/configuration.md docs/install.md

SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

##@ General

.PHONY: help
help: ## Show this text.
	@awk 'BEGIN { FS = ":.*##"; print "Usage: make <target>" } \
		/^[a-zA-Z_-]+:.*##/ { printf "  %-18s%s\n", $$1, $$2 } \
		/^##@/ { print "\n" substr($$0, 5) }' $(MAKEFILE_LIST)

.PHONY: clean
clean: cluster-down ## Remove everything that was built, the control plane included.
	rm -rf bin dist

##@ Development

.PHONY: run
run: build controlplane ## Run the whole system here with simulators, and show events on their way. ONCE=1 ends after one round.
	@hack/prerequisites.sh postgres
	@$(build) dev bin/dev ./hack/dev
	@ONCE=$(ONCE) bin/dev -binary=bin/verity-sync

.PHONY: test
test: controlplane ## Run every test, with the race detector, on a real API server and a real Postgres.
	@hack/prerequisites.sh postgres pgbouncer compiler
	@$(build) testenv bin/testenv ./hack/testenv
	PACKAGES='$(PACKAGES)' bin/testenv hack/test.sh -race -timeout=20m $(TESTFLAGS)

.PHONY: test-tools
test-tools: $(TEST_TOOLS:%=bin/%) # For `make test`, which builds them while tests run that do not need them.

.PHONY: adoption
adoption: controlplane ## Adopt a database of the legacy middleware with 43,500 rows, and print how long that takes.
	@hack/prerequisites.sh postgres
	ADOPTION_ROWS=43500 $(test) -count=1 -timeout=4h -v ./test/adoption

.PHONY: faults
faults: controlplane ## Inject one fault after the other under load, and check the result: 4 minutes, with LONG=1 an hour. SEED=, DURATION=, ONLY=, POOLER=transaction, WRITE=1.
	@hack/prerequisites.sh postgres $(if $(POOLER),pgbouncer)
	FAULTS_DURATION=$(or $(DURATION),$(if $(LONG),1h,3m)) FAULTS_SEED=$(or $(SEED),$(shell date +%s)) FAULTS_LONG=$(LONG) \
		FAULTS_ONLY=$(if $(ONLY),'$(ONLY)') FAULTS_POOLER=$(POOLER) FAULTS_REPORT=$(if $(WRITE),$(CURDIR)/docs/reliability.md) $(test) -count=1 -timeout=3h -v -run=TestNothingIsLost ./test/faults

.PHONY: bench
bench: build controlplane bench-programs bin/benchstat ## Measure it beside its peers and write docs/performance.md: 45 minutes alone on the machine. ROWS=intake,idle REPS=3.
	@hack/prerequisites.sh postgres node
	bin/bench/bench -rows='$(ROWS)' -repetitions=$(or $(REPS),6) -document=docs/performance.md

.PHONY: bench-erase
bench-erase: ## Measure the erasure of one person among 100,000 events of 3 KB.
	@hack/prerequisites.sh postgres
	go test ./cmd -run='^$$' -bench='^BenchmarkErase$$' -benchtime=1x -timeout=30m

.PHONY: bloat
bloat: build controlplane bench-driver ## Measure tables, indexes, WAL and latency before, during and after a burst at full rate, and write docs/performance.md. DURATION=1h.
	@hack/prerequisites.sh postgres
	bin/bench/bench -rows=burst -repetitions=1 -duration=$(or $(DURATION),1h) -document=docs/performance.md

.PHONY: bloat-settings
bloat-settings: build bench-driver ## Compare fillfactor and autovacuum settings side by side and write docs/performance.md. DURATION=5m.
	@hack/prerequisites.sh postgres
	bin/bench/bench -rows=settings -repetitions=1 -duration=$(or $(DURATION),5m) -rate=20 -document=docs/performance.md

.PHONY: bench-driver
bench-driver:
	@$(build) bench bin/bench/bench ./test/bench

# The driver, and the two baselines: what is replaced, on Node, and the same on River.
.PHONY: bench-programs
bench-programs: bench-driver
	@cd test/bench/river && $(CURDIR)/$(build) river $(BIN)/bench/river .
	mkdir -p bin/bench/pgboss
	cp test/bench/pgboss/{package.json,package-lock.json,.npmrc,server.js} bin/bench/pgboss
	cd bin/bench/pgboss && npm ci --silent

.PHONY: capacity
capacity: controlplane ## Drain a backlog of 50,000, hold 10,000 contacts behind an Aloware that is down, and check which events wait: half an hour.
	@hack/prerequisites.sh postgres
	CAPACITY=full $(test) -count=1 -timeout=3h -v ./test/capacity

.PHONY: lint
lint: bin/golangci-lint bin/actionlint ## Check the code, the language and the workflows.
	CGO_ENABLED=0 go run -trimpath ./hack/language
	bin/actionlint -shellcheck= -pyflakes=
	bin/golangci-lint run
	cd test/bench/river && $(BIN)/golangci-lint run

.PHONY: lint-fix
lint-fix: bin/golangci-lint ## Check the code, and fix what can be fixed.
	bin/golangci-lint run --fix

.PHONY: vulncheck
vulncheck: bin/govulncheck ## Look for known vulnerabilities that the code reaches. It asks vuln.go.dev, or the copy that GOVULNDB names.
	bin/govulncheck $(if $(GOVULNDB),-db=$(GOVULNDB)) ./...

.PHONY: fmt
fmt: ## Format the code.
	go fmt ./...

.PHONY: vet
vet: ## Run go vet.
	go vet ./...

.PHONY: manifests
manifests: bin/controller-gen ## Generate the custom resource definition, the files that the chart and kustomize both have, and the variables in manifests and docs.
	bin/controller-gen crd paths=./api/... output:crd:dir=config/crd/bases
	CGO_ENABLED=0 go run -trimpath ./hack/manifests

.PHONY: generate
generate: bin/controller-gen bin/sqlc ## Generate the deep copies of the API types and the Go code of the SQL queries.
	bin/controller-gen object:headerFile=hack/boilerplate.go.txt paths=./api/...
	bin/sqlc generate --file internal/store/sqlc.yaml

.PHONY: api-docs
api-docs: bin/crd-ref-docs ## Generate docs/api.md, the reference of the custom resource, from the API types.
	bin/crd-ref-docs --log-level=ERROR --source-path=api --config=hack/api-docs/config.yaml --templates-dir=hack/api-docs/templates \
		--renderer=markdown --output-path=docs/api.md

.PHONY: verify-generated
verify-generated: manifests generate api-docs ## Fail where a generated file is not current.
	@hack/verify-generated.sh $(GENERATED)

##@ Build

.PHONY: build
build: ## Build bin/verity-sync.
	@$(build) verity-sync bin/verity-sync -ldflags '$(LDFLAGS)' ./cmd

# Empty if VERSION comes from git and is not given.
given_version = $(if $(filter command environment,$(firstword $(origin VERSION))),$(VERSION))

.PHONY: docker-build
docker-build: ## Build the container image IMG, which reports its tag as its version where the tag is one.
	$(image_arguments)
	$(CONTAINER_TOOL) build $(build_arguments) --tag $(IMG) .

.PHONY: docker-buildx
docker-buildx: ## Build the image IMG for all PLATFORMS, push it, and write its digest into bin/image.digest.
	$(image_arguments)
	@mkdir -p bin
	$(CONTAINER_TOOL) buildx build $(build_arguments) --platform=$(subst $(space),$(comma),$(PLATFORMS)) --push --metadata-file=bin/image.json --tag $(IMG) .
	sed -n 's/^ *"containerimage.digest": "\(.*\)".*/\1/p' bin/image.json > bin/image.digest

define image_arguments
$(eval image_version := $(shell hack/image-version.sh '$(IMG)' '$(given_version)'))
$(if $(image_version),,$(error nothing is built))
@echo 'building $(IMG), which reports the version $(image_version), commit $(COMMIT)'
endef
build_arguments = --build-arg VERSION=$(image_version) --build-arg COMMIT=$(COMMIT) --build-arg DATE=$(DATE)

comma := ,
space := $(subst ,, )

##@ Release

.PHONY: release-check
release-check: ## Fail where the chart, the kustomization or the changelog is not that of VERSION=v0.2.0.
	@hack/release.sh check '$(VERSION)'

.PHONY: release-files
release-files: release-binaries chart-package build-installer sbom ## Write all files of the release VERSION into dist/, with install.yaml for the image IMG.
	@$(MAKE) --no-print-directory checksums

.PHONY: release-binaries
release-binaries: $(PLATFORMS:%=release-binary/%) ## Build the program for each of PLATFORMS into dist/.

release-binary/%:
	@GOOS=$(*D) GOARCH=$(*F) $(build) verity-sync-$(*D)-$(*F) $(DIST)/$(call binary,$*) -ldflags '$(LDFLAGS)' ./cmd

binary = verity-sync-$(subst /,-,$(1))

.PHONY: chart-package
chart-package: bin/helm ## Package the chart into dist/.
	mkdir -p $(DIST)
	bin/helm package config/chart --destination $(DIST)

.PHONY: chart-push
chart-push: bin/helm ## Push the chart in dist/ to CHART_REPOSITORY, such as oci://registry.example.com/charts.
	bin/helm push $(DIST)/verity-sync-*.tgz $(CHART_REPOSITORY)

.PHONY: sbom
sbom: bin/cyclonedx-gomod release-binaries ## Write the software bill of materials of each program in dist/ beside it.
	$(foreach platform,$(PLATFORMS),GOOS=$(word 1,$(subst /, ,$(platform))) GOARCH=$(word 2,$(subst /, ,$(platform))) bin/cyclonedx-gomod bin -json -std -noserial -notimestamp -version $(VERSION) \
		-output $(DIST)/$(call binary,$(platform)).cdx.json $(DIST)/$(call binary,$(platform)) &&) true

.PHONY: checksums
checksums: ## Write the checksums of all files in dist/ into dist/SHA256SUMS.
	cd $(DIST) && rm -f SHA256SUMS && sums=$$(sha256sum *) && echo "$$sums" > SHA256SUMS

##@ Cluster

.PHONY: cluster
cluster: ## Install all of it in a cluster on this machine, and print how to reach it: of kind with Docker, else a node, as root on Debian or Ubuntu. No Ingress, no TLS.
	@hack/cluster/cluster.sh

.PHONY: test-cluster
test-cluster: ## Install all of it in a node on this machine, and test it there: rollouts, evictions and crashes under load.
	@hack/cluster/up.sh
	$(test) -count=1 -timeout=20m -exec=$(CURDIR)/hack/node/exec.sh $(TESTFLAGS) ./test/cluster

.PHONY: cluster-node
cluster-node: ## Start an empty Kubernetes node on this machine, in namespaces of its own: as root on Debian or Ubuntu; minutes, the first time.
	@hack/node/up.sh

.PHONY: cluster-down
cluster-down: ## Remove the cluster of kind, the node and everything in them.
	@hack/cluster/kind.sh down
	@hack/node/down.sh

##@ Deployment, to the cluster of the current kubeconfig

.PHONY: install
install: bin/kustomize ## Install the custom resource definition.
	bin/kustomize build config/crd | $(KUBECTL) apply --filename=-

.PHONY: uninstall
uninstall: bin/kustomize ## Remove the custom resource definition, and with it every WebhookEvent.
	bin/kustomize build config/crd | $(KUBECTL) delete --ignore-not-found=$(ignore-not-found) --filename=-

.PHONY: deploy
deploy: bin/kustomize ## Deploy the image IMG. Create the Secret verity-sync first: config/samples/secret.yaml.
	@# A Job cannot be changed.
	$(KUBECTL) --namespace verity-sync delete job verity-sync-migrate --ignore-not-found
	$(deployment) | $(KUBECTL) apply --filename=-

.PHONY: undeploy
undeploy: bin/kustomize ## Remove what was deployed.
	$(deployment) | $(KUBECTL) delete --ignore-not-found=$(ignore-not-found) --filename=-

.PHONY: build-installer
build-installer: bin/kustomize ## Write all that `deploy` deploys into dist/install.yaml.
	mkdir -p $(DIST)
	$(deployment) > $(DIST)/install.yaml

# An overlay in bin/ names the image, so that deploying changes no file of the repository. Each make has a separate one.
define deployment
mkdir -p bin; \
overlay=$$(mktemp -d bin/deploy.XXXXXX); trap "rm -rf $$overlay" EXIT; \
echo 'resources: [../../config/default]' > $$overlay/kustomization.yaml; \
(cd $$overlay && $(BIN)/kustomize edit set image verity-sync=$(IMG)); \
bin/kustomize build $$overlay
endef

##@ Dependencies

.PHONY: controlplane
controlplane: ## Put kube-apiserver, etcd and kubectl into bin/k8s: minutes, the first time.
	@hack/controlplane/build.sh

.PHONY: tools
tools: $(TOOLS:%=bin/%) ## Build the tools.

# promtool without clients of every cloud, which take most of the time to build.
tags_promtool := -tags=remove_all_sd
# sqlc's parser is written in C.
cgo_sqlc := CGO_ENABLED=1
# Each tool is a separate module, so that their dependencies do not conflict. Where it can, a tool uses the version that the project or the
# control plane has, so that a dependency is compiled once.
$(TOOLS:%=bin/%): bin/%: hack/tools/%/go.mod hack/tools/%/go.sum
	@[[ $* != sqlc ]] || hack/prerequisites.sh compiler
	@echo "building $* from source, once"
	@cd hack/tools/$* && $(cgo_$*) $(CURDIR)/$(build) $* $(BIN)/$* $(tags_$*) tool
