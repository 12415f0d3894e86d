#!/bin/sh
# Builds a program that tests of the manifests need, from its Go module, and prints its path as the last line of standard output.
#
#   build.sh helm        charts: lint, render, install
#   build.sh promtool    alert rules: check, and evaluate over given series
#
# Each is a module of its own, since each wants its own versions of the same libraries. A built program is kept by the hash of its module's files.
# Helm's libraries of Kubernetes are those of the bed's control plane, so that Go compiles them once for both.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
store=${XDG_CACHE_HOME:-$HOME/.cache}/causeway/tools/go
say() { printf 'tools: %s\n' "$*" >&2; }

name=${1:-}
case $name in
helm)
    package=helm.sh/helm/v3/cmd/helm tags=''
    # What Helm's own release builds set: without a cluster, charts are rendered for this version of Kubernetes.
    chartutil=helm.sh/helm/v3/pkg/chartutil rules=helm.sh/helm/v3/pkg/lint/rules
    set_at_link="-X $chartutil.k8sVersionMajor=1 -X $chartutil.k8sVersionMinor=36 -X $rules.k8sVersionMajor=1 -X $rules.k8sVersionMinor=36"
    ;;
promtool)
    # Without its service discoveries, which are the clouds' libraries.
    package=github.com/prometheus/prometheus/cmd/promtool tags=remove_all_sd set_at_link=''
    ;;
*) say "usage: build.sh helm | promtool"; exit 2 ;;
esac
command -v go >/dev/null || { say "go is missing: install Go 1.26 from https://go.dev/dl/"; exit 1; }

cd "$here/$name"
hash=$({ go env GOVERSION GOARCH; cat go.mod go.sum "$here/build.sh"; } | sha256sum | cut -c1-16)
program=$store/$name-$hash
if [ ! -x "$program" ]; then
    mkdir -p "$store"
    exec 9>"$store/lock.$name"
    flock -n 9 || { say "waiting for another build of $name"; flock 9; }
fi
if [ ! -x "$program" ]; then
    say "building $name (minutes the first time)"
    started=$(date +%s)
    CGO_ENABLED=0 GOFLAGS=-trimpath nice -n 5 go build -tags "$tags" -ldflags "-s -w $set_at_link" -o "$program.new" "$package"
    mv "$program.new" "$program"
    say "built $name in $(($(date +%s) - started)) s"
    find "$store" -name "$name-*" ! -name "$name-$hash" -mtime +14 -delete
fi
touch "$program"
echo "$program"
