#!/bin/sh
# Builds the program as the image has it, in the dev profile or the one named, and unpacks the image's root directory for the test bed.
# The last line of standard output is a file for `bed up --images`; the root directory lies beside it, as `rootfs`.
# Beds that run keep what they started with: each build has a folder of its own, named after the program's hash.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
cd "$top"
target=$(uname -m)-unknown-linux-musl
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/causeway/target}
export CARGO_TARGET_DIR
profile=${1:-dev}
case $profile in
dev) folder=debug ;;
bench | release) folder=release ;;
*) echo "usage: bed-image.sh [dev|bench|release]" >&2; exit 2 ;;
esac
echo "building the static program ($profile profile)" >&2
cargo build --locked --quiet --profile "$profile" --package causeway --bin causeway --features model --target "$target" >&2
program=$CARGO_TARGET_DIR/$target/$folder/causeway
images=$CARGO_TARGET_DIR/bed-image
hash=$(sha256sum "$program" | cut -c1-16)
out=$images/$hash
if [ ! -e "$out/images.json" ]; then
    mkdir -p "$images"
    work=$images/new.$$
    trap 'rm -rf "$work"' EXIT
    deploy/image/build.sh --rootfs "$program" "$work"
    # The agent takes the first line whose expression matches the whole name of the image.
    printf '[{"match":"(^|/)causeway(:|@|$)","rootfs":"%s/rootfs","command":["/causeway"],"user":65532}]\n' "$out" >"$work/images.json"
    rm -rf "$out"
    mv "$work" "$out"
    # Roots of builds that nobody starts a bed with any more.
    find "$images" -mindepth 1 -maxdepth 1 -type d ! -name "$hash" -mmin +600 -exec rm -rf {} +
fi
touch "$out"
echo "$out/images.json"
