#!/bin/sh
# The test targets that need the bed, one after another: each starts control planes, and the machine is small. And all that do not, with the same features, so that
# nothing is compiled twice.
#
#   bed-suites.sh unit             run the tests that need no bed
#   bed-suites.sh list             package and name of each target that requires the feature `bed`
#   bed-suites.sh check            whether cargo can tell, and there is at least one
#   bed-suites.sh run BUILD EACH   build them within BUILD seconds, then run each within EACH
#
# The list is what cargo says, so that a new target cannot be forgotten.
set -eu
cd "$(dirname "$0")/../.."

# targets BED: package and name of each test target that needs the bed (True), or does not (False).
targets() {
    cargo metadata --locked --no-deps --format-version 1 | python3 -c '
import json, sys
for package in json.load(sys.stdin)["packages"]:
    for target in package["targets"]:
        if "test" in target["kind"] and ("bed" in target.get("required-features", [])) == '"$1"':
            print(package["name"], target["name"])'
}
list() { targets True; }
features() { list | cut -d' ' -f1 | sort -u | sed 's,$,/bed,' | paste -sd, - | sed 's,^,causeway/model\,,'; }

case ${1:-} in
list) list ;;
check)
    found=$(list | wc -l)
    [ "$found" -gt 0 ] || { echo "no test target requires the feature bed" >&2; exit 1; }
    ;;
unit)
    # A name that a target with the bed has too is run there: cargo takes all targets of a name.
    arguments=$({ list | sed 's/^/bed /'; targets False; } |
        awk '$1 == "bed" && NF == 3 { bed[$3] = 1; next } !($2 in bed) { printf " --test %s", $2 }')
    # shellcheck disable=SC2086 # words
    exec cargo test --locked --workspace --features "$(features)" --lib --bins $arguments --no-fail-fast --quiet
    ;;
run)
    suite=tests/scripts/suite.sh
    features=$(features)
    arguments=$(list | awk '{ printf " --test %s", $2 }')
    # Not a suite of its own when it succeeds; a build that fails is one failure, and says so.
    # shellcheck disable=SC2086 # words
    timeout "$2" cargo test --locked --workspace --features "$features" $arguments --no-run --quiet ||
        { $suite run bed-build 5 false; exit 1; }
    # Minutes once per machine, which are no test's.
    for peer in metallb lbc cpa occm; do
        timeout "$2" tests/bed/controlplane/build.sh $peer >/dev/null || { $suite run bed-$peer 5 false; exit 1; }
    done
    CAUSEWAY_BED_IMAGES=$(timeout "$2" tests/scripts/bed-image.sh | tail -1)
    export CAUSEWAY_BED_IMAGES
    [ -f "$CAUSEWAY_BED_IMAGES" ] || { $suite run bed-image 5 false; exit 1; }
    status=0
    # each NAME SECONDS
    each() {
        $suite run "$1" "$2" cargo test --locked --workspace --features "$features" \
            --test "$1" --no-fail-fast -- --test-threads=2 </dev/null
    }
    names=${CARGO_TARGET_DIR:-target}/bed-suites
    list | cut -d' ' -f2 >"$names"
    # Load balancers of a cloud take their time: these wait more than they work, and judge no times. So they run side by side.
    slow='aws_scenarios openstack_scenarios openstack_adoption'
    while read -r name; do
        case " $slow " in *" $name "*) ;; *) each "$name" "$3" || status=1 ;; esac
    done <"$names"
    lanes=
    for name in $slow; do
        each "$name" "$3" >"$names.$name" 2>&1 &
        lanes="$lanes $!"
        echo "==> $name, beside others"
    done
    for lane in $lanes; do wait "$lane" || status=1; done
    for name in $slow; do cat "$names.$name"; done
    exit $status
    ;;
*) echo "usage: bed-suites.sh unit | list | check | run BUILD EACH" >&2; exit 2 ;;
esac
