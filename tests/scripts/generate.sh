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
# The program that the tests deploy, so that nothing is built for this alone.
causeway=$(dirname "$(tests/scripts/bed-image.sh | tail -1)")/rootfs/causeway
mkdir -p "$out/deploy/crds/aws" "$out/docs"
"$causeway" crds --cloud-provider=metal >"$out/deploy/crds/metallb.io.yaml"
"$causeway" crds --cloud-provider=aws >"$out/deploy/crds/aws/elbv2.k8s.aws.yaml"
for page in flags crds annotations metrics aws-annotations aws-options differences-from-lbc \
    openstack-annotations openstack-options; do
    "$causeway" docs "$page" >"$out/docs/$page.md"
done
[ "$1" = check ] || exit 0
status=0
for file in deploy/crds/metallb.io.yaml deploy/crds/aws/elbv2.k8s.aws.yaml docs/flags.md docs/crds.md docs/annotations.md docs/metrics.md \
    docs/aws-annotations.md docs/aws-options.md docs/differences-from-lbc.md \
    docs/openstack-annotations.md docs/openstack-options.md; do
    diff -u "$file" "$out/$file" || { echo "$file is not what the code says: make generate" >&2; status=1; }
done
exit $status
