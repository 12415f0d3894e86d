#!/bin/sh
# Makes an OCI image around one static program, without docker and without root:
#
#   build.sh PROGRAM OUTDIR [amd64|arm64]
#   build.sh --rootfs PROGRAM OUTDIR        only the unpacked root directory, which is all that the test bed needs
#
#   OUTDIR/rootfs/            what is in the image: the program, CA certificates, two accounts
#   OUTDIR/oci/               the image as an OCI layout (skopeo, podman, umoci, `ctr image import` read it)
#   OUTDIR/causeway-<version>-linux-<arch>.tar   the same in one file, for `docker load` and `ctr image import`
#
# The same program gives the same image, byte for byte: names are sorted, owners are 0, times are SOURCE_DATE_EPOCH (0 by default).
set -eu

fail() { echo "image: $*" >&2; exit 1; }

rootfs_only=no
[ "${1:-}" != --rootfs ] || { rootfs_only=yes; shift; }
[ $# -ge 2 ] || fail "usage: build.sh [--rootfs] PROGRAM OUTDIR [amd64|arm64]"
program=$1
out=$2
case ${3:-$(uname -m)} in
amd64 | x86_64) arch=amd64 ;;
arm64 | aarch64) arch=arm64 ;;
*) fail "unknown architecture ${3:-$(uname -m)}: amd64 and arm64 are supported" ;;
esac
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
epoch=${SOURCE_DATE_EPOCH:-0}
name=${IMAGE_NAME:-causeway}
certificates=${CA_CERTIFICATES:-/etc/ssl/certs/ca-certificates.crt}

for tool in tar gzip sha256sum date; do
    command -v $tool >/dev/null || fail "$tool is missing: apt-get install tar gzip coreutils"
done
[ -x "$program" ] || fail "there is no program $program"
[ -s "$certificates" ] || fail "no CA certificates in $certificates: apt-get install ca-certificates"
# A program with an interpreter (the dynamic loader) would not start in an empty image.
if command -v readelf >/dev/null && readelf -lW "$program" | grep -q INTERP; then
    fail "$program is linked dynamically: build it with --target $(uname -m)-unknown-linux-musl"
fi
version=${IMAGE_VERSION:-$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$top/Cargo.toml")}
[ -n "$version" ] || fail "no version in $top/Cargo.toml"

rm -rf "$out/rootfs" "$out/oci"
root=$out/rootfs
blobs=$out/oci/blobs/sha256
mkdir -p "$root/etc/ssl/certs" "$root/licenses"
cp "$program" "$root/causeway"
cp "$certificates" "$root/etc/ssl/certs/ca-certificates.crt"
cp "$top/LICENSE" "$root/licenses/LICENSE"
printf 'root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n' >"$root/etc/passwd"
printf 'root:x:0:\nnonroot:x:65532:\n' >"$root/etc/group"
find "$root" -type d -exec chmod 755 {} +
find "$root" -type f -exec chmod 644 {} +
chmod 755 "$root/causeway"
[ "$rootfs_only" = no ] || exit 0
mkdir -p "$blobs"

pack() {
    tar --sort=name --format=gnu --owner=0 --group=0 --numeric-owner --mtime="@$epoch" -C "$1" -cf - .
}
digest() { sha256sum "$1" | cut -d' ' -f1; }
size() { wc -c <"$1" | tr -d ' '; }
# Moves a file to where its content says it belongs, and prints its digest.
store() {
    sum=$(digest "$1")
    mv "$1" "$blobs/$sum"
    echo "$sum"
}

work=$out/work
rm -rf "$work"
mkdir -p "$work"
trap 'rm -rf "$work"' EXIT
pack "$root" >"$work/layer.tar"
diff_id=$(digest "$work/layer.tar")
gzip -n -6 "$work/layer.tar"
layer_size=$(size "$work/layer.tar.gz")
layer=$(store "$work/layer.tar.gz")
created=$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)

cat >"$work/config" <<END
{"created":"$created","architecture":"$arch","os":"linux","config":{"User":"65532:65532","Env":["PATH=/"],"Entrypoint":["/causeway"],"WorkingDir":"/","Labels":{"org.opencontainers.image.title":"causeway","org.opencontainers.image.description":"Kubernetes cloud-controller-manager for load balancers","org.opencontainers.image.version":"$version","org.opencontainers.image.licenses":"Apache-2.0","org.opencontainers.image.created":"$created"}},"rootfs":{"type":"layers","diff_ids":["sha256:$diff_id"]},"history":[{"created":"$created","created_by":"deploy/image/build.sh"}]}
END
config_size=$(size "$work/config")
config=$(store "$work/config")
cat >"$work/manifest" <<END
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:$config","size":$config_size},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:$layer","size":$layer_size}]}
END
manifest_size=$(size "$work/manifest")
manifest=$(store "$work/manifest")
cat >"$out/oci/index.json" <<END
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:$manifest","size":$manifest_size,"platform":{"architecture":"$arch","os":"linux"},"annotations":{"org.opencontainers.image.ref.name":"$version","io.containerd.image.name":"$name:$version"}}]}
END
printf '{"imageLayoutVersion":"1.0.0"}' >"$out/oci/oci-layout"
# Docker before 25 knows only this file.
printf '[{"Config":"blobs/sha256/%s","RepoTags":["%s:%s"],"Layers":["blobs/sha256/%s"]}]' "$config" "$name" "$version" "$layer" >"$out/oci/manifest.json"
pack "$out/oci" >"$out/causeway-$version-linux-$arch.tar"
echo "image: $name:$version linux/$arch sha256:$manifest, $layer_size bytes, in $out"
