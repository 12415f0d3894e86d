#!/bin/sh
# The test targets that need the bed, one after another: each starts control planes, and the machine is small.
#
#   bed-suites.sh list             package and name of each target that requires the feature `bed`
#   bed-suites.sh check            whether cargo can tell, and there is at least one
#   bed-suites.sh run BUILD EACH   build them within BUILD seconds, then run each within EACH
#
# The list is what cargo says, so that a new target cannot be forgotten.
set -eu
cd "$(dirname "$0")/../.."

list() {
    cargo metadata --locked --no-deps --format-version 1 | python3 -c '
import json, sys
for package in json.load(sys.stdin)["packages"]:
    for target in package["targets"]:
        if "test" in target["kind"] and "bed" in target.get("required-features", []):
            print(package["name"], target["name"])'
}

case ${1:-} in
list) list ;;
check)
    found=$(list | wc -l)
    [ "$found" -gt 0 ] || { echo "no test target requires the feature bed" >&2; exit 1; }
    ;;
run)
    suite=tests/scripts/suite.sh
    features=$(list | cut -d' ' -f1 | sort -u | sed 's,$,/bed,' | paste -sd, -)
    arguments=$(list | awk '{ printf " --test %s", $2 }')
    # Not a suite of its own when it succeeds; a build that fails is one failure, and says so.
    # shellcheck disable=SC2086 # words
    timeout "$2" cargo test --locked --workspace --features "causeway/model,$features" $arguments --no-run --quiet ||
        { $suite run bed-build 5 false; exit 1; }
    # Three minutes once per machine, which are no test's.
    timeout "$2" tests/bed/controlplane/build.sh metallb >/dev/null || { $suite run bed-metallb 5 false; exit 1; }
    CAUSEWAY_BED_IMAGES=$(timeout "$2" tests/scripts/bed-image.sh | tail -1)
    export CAUSEWAY_BED_IMAGES
    [ -f "$CAUSEWAY_BED_IMAGES" ] || { $suite run bed-image 5 false; exit 1; }
    status=0
    list >"${CARGO_TARGET_DIR:-target}/bed-suites"
    while read -r _ name; do
        $suite run "$name" "$3" cargo test --locked --workspace --features "causeway/model,$features" \
            --test "$name" --no-fail-fast -- --test-threads=2 </dev/null || status=1
    done <"${CARGO_TARGET_DIR:-target}/bed-suites"
    exit $status
    ;;
*) echo "usage: bed-suites.sh list | check | run BUILD EACH" >&2; exit 2 ;;
esac
