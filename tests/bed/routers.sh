#!/bin/sh
# Unpacks the routing daemons that tests peer with (FRR, BIRD 2, GoBGP, exabgp) out of Debian's packages, once per machine, and prints their folder
# as the last line of standard output.
#
# Nothing is installed: no service that would start with the machine, no user, and daemons that the machine has stay as they are. The folder holds
# `usr` and `etc`, which a router of the bed lays over its own view of those. Libraries that the daemons need and the machine lacks are in it too.
set -eu

store=${XDG_CACHE_HOME:-$HOME/.cache}/causeway/routers
daemons="frr bird2 gobgpd exabgp"
say() { printf 'routers: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

for tool in apt-get dpkg dpkg-deb; do
    command -v $tool >/dev/null || fail "$tool is missing: the routers are unpacked from Debian's packages"
done
[ "$(id -u)" = 0 ] || fail "routers run in namespaces: run this as root"
out=$store/$({ cat "$0" /etc/os-release; dpkg --print-architecture; } | sha256sum | cut -c1-16)

# Whether each daemon finds its libraries. A cache may have come from a machine that had more of them.
works() {
    unshare --mount --propagation private sh -ec '
        mount -t overlay -o "lowerdir=$1/usr:/usr" overlay /usr
        for daemon in zebra bgpd bfdd; do /usr/lib/frr/$daemon --version; done
        vtysh --help; bird --version; gobgpd --version; gobgp --version; python3-exabgp --version' sh "$1" 2>&1
}

if [ -e "$out/.complete" ] && works "$out" >/dev/null; then
    touch "$out"
    echo "$out"
    exit 0
fi
mkdir -p "$store"
exec 9>"$store/lock"
flock -n 9 || { say "waiting for another download"; flock 9; }

download() { # into the current folder: the daemons, and what of their dependencies is not installed
    # shellcheck disable=SC2086 # words
    names=$(apt-get install --simulate --reinstall --no-install-recommends $daemons | sed -n 's/^Inst \([^ ]*\).*/\1/p')
    [ -n "$names" ] || return 1
    # shellcheck disable=SC2086 # words
    apt-get download -q -o APT::Sandbox::User=root $names >&2
}

if ! { [ -e "$out/.complete" ] && works "$out" >/dev/null; }; then
    work=$store/new.$$
    rm -rf "$work"
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM HUP
    mkdir -p "$work/debs" "$work/etc/pam.d"
    say "downloading $daemons (15 MB)"
    cd "$work/debs"
    # Lists that are missing or out of date are read anew, once.
    download || { apt-get update -q >&2 && rm -f ./*.deb && download; } || fail "the packages $daemons cannot be had"
    for package in *.deb; do
        dpkg-deb -x "$package" "$work/unpacked"
    done
    mv "$work/unpacked/usr" "$work/usr"
    # A package of before the merge of /usr may have libraries in /lib.
    [ ! -d "$work/unpacked/lib" ] || cp -r "$work/unpacked/lib/." "$work/usr/lib/"
    cd "$store"
    rm -rf "$work/debs" "$work/unpacked"
    # FRR runs as root here. It insists on a group for its shell, and its shell asks PAM.
    { grep -v '^frr' /etc/group; echo 'frr:x:65501:'; echo 'frrvty:x:65502:root'; } >"$work/etc/group"
    { grep -v '^frr' /etc/passwd; echo 'frr:x:65501:65501:FRR:/:/bin/false'; } >"$work/etc/passwd"
    mkdir "$work/etc/frr"
    : >"$work/etc/frr/vtysh.conf"
    printf 'auth sufficient pam_permit.so\naccount sufficient pam_permit.so\n' >"$work/etc/pam.d/frr"
    complaint=$(works "$work") || fail "the unpacked routers do not run: $(echo "$complaint" | tail -3)"
    touch "$work/.complete"
    rm -rf "$out"
    mv "$work" "$out"
    trap - EXIT
    find "$store" -mindepth 1 -maxdepth 1 -type d ! -path "$out" -mtime +14 -exec rm -rf {} +
    say "unpacked"
fi
echo "$out"
