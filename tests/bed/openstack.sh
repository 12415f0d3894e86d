#!/bin/sh
# Installs the OpenStack of the bed once per machine, and prints its folder as the last line of standard output: Keystone, Neutron, Octavia, Barbican, Nova and
# the OVN provider out of Python's packages, MariaDB, haproxy and OVN out of Debian's. Downloads 120 MB, takes 3 to 4 minutes on 2 cores, 550 MB on disk.
#
# Nothing is installed on the machine itself: no service that would start with it. The folder holds
#   bin, lib, etc           a Python environment
#   debian/usr              what a daemon lays over its own view of /usr
#   state/amphora, state/ovn    databases with users and networks, from which each cloud starts
# Versions are pinned by openstack.constraints beside this file; the folder's name says what it was made from.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
store=${XDG_CACHE_HOME:-$HOME/.cache}/causeway/openstack
daemons="mariadb-server-core mariadb-client-core haproxy ovn-central"
say() { printf 'openstack: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
PATH=$PATH:/usr/sbin:/sbin

for tool in apt-get dpkg dpkg-deb unshare ip nft; do
    command -v $tool >/dev/null || fail "$tool is missing; tests/bed/prepare.sh installs it, on Debian"
done
[ "$(id -u)" = 0 ] || fail "run this as root: the databases are filled in namespaces"
python=${CAUSEWAY_PYTHON:-python3}
command -v "$python" >/dev/null || fail "python3 is missing: apt-get install python3 python3-venv"
version=$("$python" -c 'import sys; print(sys.version, sys.executable); sys.exit(sys.version_info < (3, 11))') ||
    fail "Python 3.11 or later is needed, not $version; CAUSEWAY_PYTHON names another one"
made_from="$0 $here/openstack.constraints $here/openstack/snapshot.py $here/openstack/configure.py $here/openstack/seed.py"
# shellcheck disable=SC2086 # words
out=$store/$({ cat $made_from /etc/os-release; dpkg --print-architecture; echo "$version"; } | sha256sum | cut -c1-16)

# A cache may have come from a machine with another Python or other libraries.
works() {
    "$1/bin/python" -c 'import keystone, neutron, octavia, barbican, nova, ovn_octavia_provider, waitress' 2>&1 &&
        unshare --mount --propagation private sh -ec '
            mount -t overlay -o "lowerdir=$1/debian/usr:/usr" overlay /usr
            for tool in "mariadbd --no-defaults --version" "mariadb --version" "haproxy -v" "ovsdb-server --version" "ovn-northd --version"; do $tool; done' sh "$1" 2>&1 &&
        [ -s "$1/state/amphora/seed.json" ] && [ -s "$1/state/ovn/seed.json" ]
}

# The long check only once a day.
fresh() { [ -n "$(find "$1/.complete" -mtime -1 2>/dev/null)" ] && [ -x "$1/bin/python" ] && "$1/bin/python" -c ''; }

if fresh "$out" || { [ -e "$out/.complete" ] && works "$out" >/dev/null; }; then
    touch "$out/.complete" "$out"
    echo "$out"
    exit 0
fi
mkdir -p "$store"
exec 9>"$store/lock"
flock -n 9 || { say "waiting for another installation"; flock 9; }

download() { # into the current folder: the daemons, and what of their dependencies is not installed
    # shellcheck disable=SC2086 # words
    names=$(apt-get install --simulate --reinstall --no-install-recommends $daemons | sed -n 's/^Inst \([^ ]*\).*/\1/p')
    [ -n "$names" ] || return 1
    # shellcheck disable=SC2086 # words
    apt-get download -q -o APT::Sandbox::User=root $names >&2
}

install_daemons() {
    mkdir -p "$out/debs"
    cd "$out/debs"
    # Lists that are missing or out of date are read anew, once.
    download || { apt-get update -q >&2 && rm -f ./*.deb && download; } || fail "the packages $daemons cannot be had"
    for package in *.deb; do
        dpkg-deb -x "$package" "$out/debian"
    done
    # A package of before the merge of /usr may have libraries in /lib.
    [ ! -d "$out/debian/lib" ] || cp -r "$out/debian/lib/." "$out/debian/usr/lib/"
    cd "$here"
    rm -rf "$out/debs" "$out/debian/etc" "$out/debian/lib" "$out/debian/var" "$out/debian/usr/share/doc" "$out/debian/usr/share/man"
}

install_python() {
    "$python" -c 'import venv, ensurepip' 2>/dev/null || fail "Python has no venv: apt-get install python3-venv"
    "$python" -m venv "$out"
    # The list is complete: nothing has to be resolved. Compiled only when what nobody needs is gone.
    "$out/bin/pip" install --quiet --disable-pip-version-check --no-input --no-compile --no-deps \
        --requirement "$here/openstack.constraints" >&2 || fail "OpenStack's Python packages cannot be installed"
    find "$out"/lib/python*/site-packages -mindepth 2 -maxdepth 3 -type d -name tests -exec rm -rf {} +
    find "$out"/lib/python*/site-packages -type d -name locale -path '*/locale' -exec rm -rf {} +
    "$out/bin/python" -m compileall -q -j 0 "$out"/lib/python*/site-packages >/dev/null || true
}

fill() {
    work=$out/work
    mkdir -p "$work"
    unshare --net --pid --fork --kill-child --mount --mount-proc --propagation private sh -ec '
        mount -t overlay -o "lowerdir=$1/debian/usr:/usr" overlay /usr
        exec "$1/bin/python" "$2/snapshot.py" "$1/work" "$1/state"' sh "$out" "$here/openstack" >&2 ||
        fail "the databases cannot be filled; logs are in $work/log"
    rm -rf "$work"
}

if ! { [ -e "$out/.complete" ] && works "$out" >/dev/null; }; then
    # An environment knows its own path, so it is made in its place; without the mark it is made anew.
    rm -rf "$out"
    mkdir -p "$out"
    trap 'exit 130' INT TERM HUP
    say "downloading $daemons (16 MB)"
    install_daemons
    say "installing Keystone, Neutron, Octavia, Barbican, Nova (110 MB)"
    install_python
    say "filling databases"
    fill
    complaint=$(works "$out") || fail "OpenStack does not run: $(echo "$complaint" | tail -3)"
    touch "$out/.complete"
    find "$store" -mindepth 1 -maxdepth 1 -type d ! -path "$out" -mtime +14 -exec rm -rf {} +
    say "installed"
fi
echo "$out"
