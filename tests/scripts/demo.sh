#!/bin/sh
# The demo as a test, in a bed of its own; a script of its own so that it counts as one.
cd "$(dirname "$0")/../.." || exit 1
if CAUSEWAY_BED=demo-$$ deploy/demo.sh --down; then echo "1 passed, 0 failed"; else echo "0 passed, 1 failed"; exit 1; fi
