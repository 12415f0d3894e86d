#!/bin/sh
# Tests the Go code of the bed. The last line says how many packages passed.
set -u
cd "$(dirname "$0")/../bed/controlplane" || exit 1
# As build.sh builds: with other settings Go would compile Kubernetes anew.
export CGO_ENABLED=0 GOFLAGS=-trimpath
# The control plane's own program only links Kubernetes; vetting it would compile all of that once more.
packages=$(go list ./cmd/... ./internal/... | grep -v '/cmd/kubernetes$') || exit 1
# Without vet, which would analyse all of Kubernetes first (minutes).
# shellcheck disable=SC2086
go test -vet=off $packages 2>&1 | tee /dev/stderr | awk '/^ok/ { p++ } /^FAIL\t/ { f++ } END { printf "%d passed, %d failed\n", p, f; exit f > 0 }'
