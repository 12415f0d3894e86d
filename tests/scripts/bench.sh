#!/bin/sh
# Builds and runs a bench suite: bench.sh SUITE SECONDS. `BENCH_ONLY=small` leaves out the part of the engine suite that fills a cluster
# with 5,000 nodes; of the suites aws and openstack `BENCH_ONLY=ID,ID` runs some rows, and `BENCH_SCALE=0.1` a tenth of everything.
set -eu
cd "$(dirname "$0")/../.."
suite=${1:-engine}
budget=${2:-1800}
[ -f "benches/$suite.rs" ] || {
    echo "no bench suite $suite; there are: $(ls benches | sed -n 's/\.rs$//p' | paste -sd' ' -)" >&2
    exit 2
}
case $suite in
engine) cargo build --locked --quiet --profile bench --package causeway-model --bin model-cloud ;;
l2 | bgp)
    CAUSEWAY_BED_IMAGES=$(tests/scripts/bed-image.sh bench | tail -1)
    export CAUSEWAY_BED_IMAGES
    ;;
esac
tests/bed/controlplane/build.sh >/dev/null
cargo bench --locked --quiet --package causeway --features bed,model --bench "$suite" --no-run
if timeout --kill-after=20 "$budget" cargo bench --locked --quiet --package causeway --features bed,model --bench "$suite"; then
    echo "bench $suite: every goal reached"
else
    echo "bench $suite: FAILED, or a goal missed"
    exit 1
fi
