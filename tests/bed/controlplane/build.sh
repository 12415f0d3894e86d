#!/bin/sh
# Builds the programs of this module and prints the folder that holds them as the last line of standard output.
#
#   build.sh           kubernetes (with a link for each part), node-agent, container-init, hollow-nodes, agnhost, tools/
#   build.sh e2e       the same, and e2e.test, Kubernetes' own end-to-end suite, and ginkgo, which runs its specs side by side
#   build.sh metallb   the same, and MetalLB: metallb-controller, metallb-speaker, metallb-native.yaml (its own manifests)
#   build.sh lbc       the same, and aws-load-balancer-controller: lbc, lbc-crds.yaml (its own definitions),
#                      lbc-webhooks.yaml (its own webhooks)
#   build.sh cpa       the same, and cloud-provider-aws: cpa (aws-cloud-controller-manager)
#   build.sh occm      the same, and those of cloud-provider-openstack: occm (openstack-cloud-controller-manager), oic (octavia-ingress-controller)
#
# The folder is named by a hash of the module's files, so an unchanged module answers at once and two checkouts do not
# disturb each other. Each program is also kept by a hash of what it alone depends on: a change to the node agent does not
# link the control plane again. Progress goes to standard error.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/causeway/bed
want=${1:-programs}

say() { printf 'bed: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

case $want in
programs | e2e | metallb | lbc | cpa | occm) ;;
*) fail "build.sh takes no argument, \"e2e\", \"metallb\", \"lbc\", \"cpa\" or \"occm\", not \"$want\"" ;;
esac

command -v flock >/dev/null || fail "flock is missing: apt-get install util-linux"
command -v sha256sum >/dev/null || fail "sha256sum is missing: apt-get install coreutils"
command -v go >/dev/null || fail "go is missing: install Go 1.26 from https://go.dev/dl/"

# Go 1.27 turns JSON v2 on, with which the API server of 1.36 serves a broken OpenAPI document. A newer default tool chain
# is told to fetch 1.26 itself; an older one cannot be trusted to.
version=$(cd "$here" && go env GOVERSION)
case $version in
go1.26 | go1.26.* | go1.26rc*) ;;
*) fail "Go 1.26 is needed, this is $version: install it from https://go.dev/dl/ (1.27 and later cannot build Kubernetes 1.36 rightly)" ;;
esac

cd "$here"
kube=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
minor=${kube#v1.}
minor=${minor%%.*}
ldflags="-s -w -X k8s.io/component-base/version.gitVersion=$kube -X k8s.io/component-base/version.gitMajor=1 \
-X k8s.io/component-base/version.gitMinor=$minor -X k8s.io/client-go/pkg/version.gitVersion=$kube"

# hash FILES...: of their names and contents, this script and the compiler included.
hash() {
    { echo "$version $(go env GOARCH)"; find "$@" -type f ! -name '*_test.go' -print | LC_ALL=C sort | xargs sha256sum; } |
        sha256sum | cut -c1-16
}

programs=$(cd cmd && echo *)
out=$cache/$(hash go.mod go.sum build.sh cmd internal cpa lbc metallb occm tools)
store=$cache/store
mkdir -p "$store"

# build NAME PACKAGE HASH: into the store, unless it is there.
build() {
    file=$store/$1-$3
    if [ ! -x "$file" ]; then
        say "building $1 (a first build of everything takes about 7 minutes on 2 cores, later ones seconds)"
        started=$(date +%s)
        CGO_ENABLED=0 nice -n 5 go build -trimpath -ldflags "$ldflags" -o "$file.new" "$2"
        mv "$file.new" "$file"
        say "built $1 in $(($(date +%s) - started)) s"
    fi
    # The newest use of a stored program is what the pruning below goes by.
    touch "$file"
    ln -f "$file" "$work/$1"
}

# The common case takes no lock: nobody who only needs the programs waits for another one's e2e.test.
has_wanted() {
    case $want in
    programs) ;;
    e2e) [ -x "$out/e2e.test" ] && [ -x "$out/ginkgo" ] ;;
    metallb) [ -s "$out/metallb-native.yaml" ] ;;
    lbc) [ -s "$out/lbc-crds.yaml" ] ;;
    cpa) [ -x "$out/cpa" ] ;;
    occm) [ -x "$out/occm" ] && [ -x "$out/oic" ] ;;
    esac
}
if [ -e "$out/.complete" ] && has_wanted; then
    touch "$out"
    echo "$out"
    exit 0
fi

exec 9>"$cache/lock"
flock -n 9 || { say "waiting for another build"; flock 9; }

if [ ! -e "$out/.complete" ]; then
    work=$cache/new.$$
    rm -rf "$work" "$out"
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM HUP
    mkdir -p "$work"
    for program in $programs; do
        case $program in
        # The other programs share internal/; the control plane is one file of its own.
        kubernetes) build kubernetes ./cmd/kubernetes "$(hash go.mod go.sum cmd/kubernetes)" ;;
        *) build "$program" "./cmd/$program" "$(hash go.mod go.sum "cmd/$program" internal)" ;;
        esac
    done
    build agnhost k8s.io/kubernetes/test/images/agnhost "$(hash go.mod go.sum)"
    for part in etcd kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubectl; do
        ln -s kubernetes "$work/$part"
    done
    cp -r tools "$work/tools"
    chmod 755 "$work"/tools/*
    touch "$work/.complete"
    mv "$work" "$out"
    trap - EXIT
    # What has not been used for two weeks belongs to a checkout that is gone or moved on.
    find "$store" -type f -mtime +14 -delete
    find "$cache" -mindepth 1 -maxdepth 1 -type d ! -name store -mtime +14 -exec rm -rf {} +
fi
touch "$out"
flock -u 9

# A lock of its own: nobody waits for the suite who only needs the programs.
if [ "$want" = e2e ]; then
    exec 9>"$cache/lock.e2e"
    flock -n 9 || { say "waiting for another build of e2e.test"; flock 9; }
fi

if [ "$want" = e2e ] && ! has_wanted; then
    hash=$(hash go.mod go.sum)
    if [ ! -x "$store/e2e.test-$hash" ] || [ ! -x "$store/ginkgo-$hash" ]; then
        say "building e2e.test of Kubernetes $kube (about 8 minutes the first time on 2 cores)"
        started=$(date +%s)
        # The suite needs modules that the programs do not; adding them edits go.mod, so a copy is edited.
        work=$cache/e2e.$$
        trap 'rm -rf "$work"' EXIT
        trap 'exit 130' INT TERM HUP
        mkdir -p "$work"
        cp go.mod go.sum "$work/"
        cp -r cmd "$work/"
        # of_suite PROGRAM PACKAGE COMMAND...: into the store, unless it is there.
        of_suite() {
            file=$store/$1-$hash
            package=$2
            shift 2
            [ -x "$file" ] || (
                cd "$work"
                CGO_ENABLED=0 nice -n 5 "$@" -mod=mod -trimpath -ldflags "$ldflags" -o "$file.new" "$package"
                mv "$file.new" "$file"
            )
        }
        # Without vet, which would analyse all of Kubernetes.
        of_suite e2e.test k8s.io/kubernetes/test/e2e go test -c -vet=off
        of_suite ginkgo github.com/onsi/ginkgo/v2/ginkgo go build
        rm -rf "$work"
        trap - EXIT
        say "built e2e.test in $(($(date +%s) - started)) s"
    fi
    for program in e2e.test ginkgo; do
        touch "$store/$program-$hash"
        ln -f "$store/$program-$hash" "$out/$program"
    done
fi

# counterparty NAME FOLDER PACKAGE: a program of the module in FOLDER, into the store unless it is there.
counterparty() {
    file=$store/$1-$(hash "$2")
    if [ ! -x "$file" ]; then
        say "building $1 (two to four minutes the first time on 2 cores)"
        started=$(date +%s)
        (cd "$2" && CGO_ENABLED=0 nice -n 5 go build -trimpath -ldflags "-s -w" -o "$file.new" "$3")
        mv "$file.new" "$file"
        say "built $1 in $(($(date +%s) - started)) s"
    fi
    touch "$file"
    ln -f "$file" "$out/$1"
}

# manifest FOLDER MODULE PATH NAME: a file of a module. Last: whoever sees it finds all of the counterparty.
manifest() {
    install -m 644 "$(cd "$1" && go list -m -f '{{.Dir}}' "$2")/$3" "$out/$4.new"
    mv "$out/$4.new" "$out/$4"
}

case $want in
metallb | lbc | cpa | occm)
    exec 9>"$cache/lock.$want"
    flock -n 9 || { say "waiting for another build of $want"; flock 9; }
    ;;
esac

if [ "$want" = metallb ] && ! has_wanted; then
    for part in controller speaker; do
        counterparty "metallb-$part" metallb "go.universe.tf/metallb/$part"
    done
    manifest metallb go.universe.tf/metallb config/manifests/metallb-native.yaml metallb-native.yaml
fi

if [ "$want" = lbc ] && ! has_wanted; then
    counterparty lbc lbc sigs.k8s.io/aws-load-balancer-controller
    manifest lbc sigs.k8s.io/aws-load-balancer-controller config/webhook/manifests.yaml lbc-webhooks.yaml
    manifest lbc sigs.k8s.io/aws-load-balancer-controller helm/aws-load-balancer-controller/crds/crds.yaml lbc-crds.yaml
fi

if [ "$want" = cpa ] && ! has_wanted; then
    counterparty cpa cpa k8s.io/cloud-provider-aws/cmd/aws-cloud-controller-manager
fi

if [ "$want" = occm ] && ! has_wanted; then
    counterparty occm occm k8s.io/cloud-provider-openstack/cmd/openstack-cloud-controller-manager
    counterparty oic occm k8s.io/cloud-provider-openstack/cmd/octavia-ingress-controller
fi

echo "$out"
