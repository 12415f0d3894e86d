#!/bin/sh
# The demos as tests, each in a bed of its own; a script of its own so that each counts as one.
cd "$(dirname "$0")/../.." || exit 1
passed=0 failed=0
for demo in demo demo-aws demo-openstack; do
    if CAUSEWAY_BED=$demo-$$ "deploy/$demo.sh" --down; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
