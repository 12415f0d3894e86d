# What the demos share; read by them, at the root of the repository. $1 is --down or nothing.
# shellcheck shell=bash
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/causeway/target}
export CARGO_TARGET_DIR
export CAUSEWAY_BED=${CAUSEWAY_BED:-demo}
bed=$CARGO_TARGET_DIR/debug/bed
down=${1:-}
[ -z "$down" ] || [ "$down" = --down ] || { echo "usage: $0 [--down]" >&2; exit 2; }

bold= plain=
if [ -t 1 ]; then bold=$'\e[1m' plain=$'\e[0m'; fi
say() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
# Shows a command as one would type it.
type_in() { printf '%s$ %s%s\n' "$bold" "$*" "$plain"; }
# The same, and runs it.
show() { type_in "$@"; "$@"; }
bed() { "$bed" "$@"; }
kubectl() { "$bed" kubectl "$@"; }
# What a client on the nodes' network gets.
curl() { "$bed" exec client -- curl --silent --show-error --max-time 2 "$@"; }
fail() {
    echo "demo: $*" >&2
    kubectl get pods,services,ingresses --all-namespaces -o wide >&2 || true
    kubectl -n kube-system logs -l app.kubernetes.io/name=causeway --prefix --tail=20 >&2 || true
    exit 1
}
milliseconds() { date +%s%3N; }
# until_ok SECONDS COMMAND...: tries until it succeeds, and prints what it printed.
until_ok() {
    local end=$(($(milliseconds) + $1 * 1000))
    shift
    until "$@" 2>/dev/null; do
        [ "$(milliseconds)" -lt "$end" ] || return 1
    done
}
# A cluster of three nodes with our image.
cluster() {
    say "Building Causeway and the cluster's programs (minutes the first time, seconds later)"
    images=${CAUSEWAY_BED_IMAGES:-$(tests/scripts/bed-image.sh | tail -1)}
    [ -f "$images" ] || fail "the image was not built"
    cargo build --locked --quiet --package causeway-bed --bin bed
    tests/bed/controlplane/build.sh >/dev/null

    say "A cluster: etcd, API server, controller manager, scheduler, and three nodes with a kube-proxy each"
    if "$bed" status >/dev/null 2>&1; then "$bed" down; fi
    trap '[ $? -eq 0 ] && [ -z "$down" ] || "$bed" down >/dev/null 2>&1 || true' EXIT
    type_in bed up --nodes 3 --images "$images"
    bed up --nodes 3 --images "$images" >/dev/null
    show kubectl get nodes -o wide
}
# Takes the cluster down, if that was asked for, and ends.
end_if_down() {
    [ -n "$down" ] || return 0
    say "Taking the cluster down"
    "$bed" down
    echo "demo: every step worked"
    exit 0
}
