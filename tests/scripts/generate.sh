#!/bin/sh
# What is generated from code: the CRDs and the reference pages.
#
#   generate.sh write    make them anew
#   generate.sh check    fail if what is committed differs, and say where
set -eu
cd "$(dirname "$0")/../.."
case ${1:-} in
write) out=. ;;
check)
    out=$(mktemp -d)
    trap 'rm -rf "$out"' EXIT
    ;;
*) echo "usage: generate.sh write | check" >&2; exit 2 ;;
esac
cargo build --locked --quiet --package causeway --bin causeway
causeway=${CARGO_TARGET_DIR:-target}/debug/causeway
mkdir -p "$out/deploy/crds" "$out/docs"
"$causeway" crds >"$out/deploy/crds/metallb.io.yaml"
for page in flags crds annotations metrics; do
    "$causeway" docs "$page" >"$out/docs/$page.md"
done
[ "$1" = check ] || exit 0
status=0
for file in deploy/crds/metallb.io.yaml docs/flags.md docs/crds.md docs/annotations.md docs/metrics.md; do
    diff -u "$file" "$out/$file" || { echo "$file is not what the code says: make generate" >&2; status=1; }
done
exit $status
