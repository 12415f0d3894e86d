#!/bin/sh
# Upstream's LoadBalancer specs (kubernetes/test/e2e) against Causeway on a bed of three nodes.
#
#   upstream.sh fast     all but the two that watch a rolling update for 15 minutes each, and the one below
#   upstream.sh slow     those two
#   upstream.sh all      all 17
#
# One spec cannot pass on layer 2: "should be able to switch session affinity ... with Local traffic policy" has a Pod on each node and
# wants one client to see several of them. With externalTrafficPolicy Local a node serves its own Pods only, and on layer 2 one node
# announces an address. It takes a data plane that spreads over nodes.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
cd "$top"
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/causeway/target}
export CARGO_TARGET_DIR
focus=LoadBalancers skip=
case ${1:-} in
fast) skip='rolling update|switch session affinity for LoadBalancer service with Local' expected=14 ;;
slow) focus='LoadBalancers.*rolling update' expected=2 ;;
all) expected=17 ;;
*) echo "usage: upstream.sh fast | slow | all" >&2; exit 2 ;;
esac
CAUSEWAY_BED=upstream-$$
export CAUSEWAY_BED
images=${CAUSEWAY_BED_IMAGES:-$(tests/scripts/bed-image.sh | tail -1)}
cargo build --locked --quiet --package causeway-bed --bin bed
bed=$CARGO_TARGET_DIR/debug/bed
# Built before the bed is up: building beside a running cluster makes its clocks late.
tests/bed/controlplane/build.sh e2e >/dev/null
[ -f "$images" ] || { echo "the image for the bed was not built" >&2; exit 1; }
trap '"$bed" down >/dev/null 2>&1 || true' EXIT
trap 'exit 130' INT TERM
"$bed" up --nodes 3 --ipv4-only --images "$images" >/dev/null
"$bed" kubectl apply --server-side -k deploy/kustomize/metal >/dev/null
"$bed" kubectl apply --server-side -f tests/manifests/pool.yaml >/dev/null
"$bed" kubectl -n kube-system rollout status deployment/causeway --timeout=90s
"$bed" kubectl -n kube-system rollout status daemonset/causeway-speaker --timeout=90s
set -- --focus "$focus"
[ -z "$skip" ] || set -- "$@" --skip "$skip"
table=$(mktemp)
trap 'rm -f "$table"; "$bed" down >/dev/null 2>&1 || true' EXIT
"$bed" e2e "$@" >"$table" || true
cat "$table"
passed=$(grep -c '^passed ' "$table" || true)
# A spec that did not run has not passed.
failed=$((expected - passed))
[ "$failed" -le 0 ] || "$bed" kubectl -n kube-system logs deployment/causeway --tail=40 || true
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
