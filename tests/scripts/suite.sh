#!/bin/sh
# Runs one suite within its time budget and keeps its score:
#
#   suite.sh start                           forget earlier scores
#   suite.sh run NAME SECONDS COMMAND...     run it; counts the `test result:` lines that cargo prints, or the last `N passed, M failed`
#   suite.sh total NAME...                   the table of suites, then `N passed, M failed` alone on a line; fails if anything failed. One of these that
#                                            was not run counts as failed
#
# A command that ends badly without a failed test, for want of a tool, by a crash or out of time, counts as one failure: nothing that
# was not seen to pass passes.
set -u

scores=${CARGO_TARGET_DIR:-target}/suites
action=${1:-}
[ $# -gt 0 ] && shift

case $action in
start)
    rm -rf "$scores"
    mkdir -p "$scores"
    ;;
run)
    name=$1
    budget=$2
    shift 2
    mkdir -p "$scores"
    log=$scores/$name.log
    echo "==> $name (at most $budget s): $*"
    begin=$(date +%s)
    # The pipe's status is that of tee, so the command's own goes through a file.
    { timeout --kill-after=20 "$budget" "$@" 2>&1; echo $? >"$scores/$name.status"; } | tee "$log"
    status=$(cat "$scores/$name.status")
    seconds=$(($(date +%s) - begin))
    counted=$(awk '
        /^test result: / { for (i = 1; i < NF; i++) { if ($(i+1) ~ /^passed/) p += $i; if ($(i+1) ~ /^failed/) f += $i } }
        /^[0-9]+ passed, [0-9]+ failed$/ { lp = $1; lf = $3 }
        END { print p + lp, f + lf }' "$log")
    passed=${counted% *}
    failed=${counted#* }
    remark=
    if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then
        failed=1
        remark="ended with status $status"
        [ "$status" -ne 124 ] && [ "$status" -ne 137 ] || remark="not done after $budget s"
    elif [ "$passed" -eq 0 ] && [ "$failed" -eq 0 ]; then
        failed=1
        remark="ran no test"
    fi
    echo "$name $passed $failed $seconds $remark" >"$scores/$name.score"
    echo "<== $name: $passed passed, $failed failed in $seconds s${remark:+ ($remark)}"
    [ "$failed" -eq 0 ]
    ;;
total)
    [ $# -gt 0 ] || { echo "suite.sh total: name the suites that have to be there" >&2; exit 2; }
    found=$(ls "$scores"/*.score 2>/dev/null)
    missing=
    for name in "$@"; do
        [ -s "$scores/$name.score" ] || missing="$missing$name 0 1 0 was not run
"
    done
    echo
    # shellcheck disable=SC2086 # one word per file
    { [ -z "$found" ] || cat $found; printf '%s' "$missing"; } | awk '
        { remark = ""; for (i = 5; i <= NF; i++) remark = remark " " $i
          printf "  %-22s %5d passed %4d failed %6d s %s\n", $1, $2, $3, $4, remark; p += $2; f += $3 }
        END { printf "%d passed, %d failed\n", p, f; exit f > 0 }'
    ;;
*)
    echo "usage: suite.sh start | run NAME SECONDS COMMAND... | total NAME..." >&2
    exit 2
    ;;
esac
