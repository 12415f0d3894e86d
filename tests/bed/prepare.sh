#!/bin/sh
# Makes a Debian machine ready for the test bed: installs the packages it needs that are missing, unpacks the routers that tests peer with, installs the
# clouds, checks the Go toolchain, builds the Go programs. Run as root; does nothing on a machine that is ready.
#
#   prepare.sh        all that a bed needs
#   prepare.sh e2e    and Kubernetes' own end-to-end suite
#   prepare.sh metallb   and MetalLB, which tests of coexistence and migration run against
set -eu

here=$(cd "$(dirname "$0")" && pwd)
fail() { echo "prepare: $*" >&2; exit 1; }

packages=
need() { # PROGRAM PACKAGE
    command -v "$1" >/dev/null 2>&1 && return
    case " $packages " in *" $2 "*) ;; *) packages="$packages $2" ;; esac
}
PATH=$PATH:/usr/sbin:/sbin
need ip iproute2
need bridge iproute2
need nft nftables
need conntrack conntrack
need tcpdump tcpdump
need unshare util-linux
need nsenter util-linux
need setsid util-linux
need flock util-linux
need timeout coreutils
need nc netcat-openbsd
need curl curl
need wget wget
need python3 python3
python3 -c "import venv, ensurepip" 2>/dev/null || packages="$packages python3-venv"

if [ -n "$packages" ]; then
    command -v apt-get >/dev/null || fail "missing packages (Debian names):$packages"
    [ "$(id -u)" = 0 ] || fail "missing packages; as root: apt-get install$packages"
    apt-get update -q
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $packages
fi

[ "$(id -u)" = 0 ] || fail "a bed makes namespaces and mounts: run it as root"
unshare --net --pid --mount --fork true || fail "this machine does not let root make namespaces"

"$here/routers.sh" >/dev/null
"$here/moto.sh" >/dev/null
"$here/openstack.sh" >/dev/null
exec "$here/controlplane/build.sh" "$@"
