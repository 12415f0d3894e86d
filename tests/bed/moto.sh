#!/bin/sh
# Installs the AWS emulator of the bed, moto, with boto3 as a second client, once per machine, and prints their folder as the last line of standard
# output: 10 s, 25 MB to download, 140 MB on disk.
#
# The folder holds a Python environment, `bin/moto_server`, `bin/python`, and `elbv2.json`: AWS's own description of its load balancer API, as
# botocore ships it. Versions are pinned by moto.constraints beside this file; the folder's name says which it has.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
store=${XDG_CACHE_HOME:-$HOME/.cache}/causeway/moto
say() { printf 'moto: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

python=${CAUSEWAY_PYTHON:-python3}
command -v "$python" >/dev/null || fail "python3 is missing: apt-get install python3 python3-venv"
version=$("$python" -c 'import sys; print(sys.version, sys.executable)')
out=$store/$({ cat "$0" "$here/moto.constraints"; echo "$version"; } | sha256sum | cut -c1-16)

# A cache may have come from a machine with another Python.
works() { "$1/bin/python" -c 'import moto.server, boto3' >/dev/null 2>&1 && [ -s "$1/elbv2.json" ]; }

# The long check only once a day: importing takes half a second.
fresh() { [ -n "$(find "$1/.complete" -mtime -1 2>/dev/null)" ] && [ -x "$1/bin/python" ] && "$1/bin/python" -c ''; }

if fresh "$out" || { [ -e "$out/.complete" ] && works "$out"; }; then
    touch "$out/.complete" "$out"
    echo "$out"
    exit 0
fi
mkdir -p "$store"
exec 9>"$store/lock"
flock -n 9 || { say "waiting for another installation"; flock 9; }
if ! { [ -e "$out/.complete" ] && works "$out"; }; then
    "$python" -c 'import venv, ensurepip' 2>/dev/null || fail "Python has no venv: apt-get install python3-venv"
    # An environment knows its own path, so it is made in its place; without the mark it is made anew.
    rm -rf "$out"
    trap 'exit 130' INT TERM HUP
    say "installing moto and boto3 (25 MB)"
    "$python" -m venv "$out"
    "$out/bin/pip" install --quiet --disable-pip-version-check --no-input --only-binary :all: \
        --constraint "$here/moto.constraints" moto flask flask-cors boto3 >&2 || fail "moto cannot be installed"
    "$out/bin/python" - "$out/elbv2.json" <<'PYTHON' || fail "botocore has no description of the load balancer API"
import json, sys
from botocore.loaders import Loader
model = Loader().load_service_model("elbv2", "service-2")
def bare(value):
    if isinstance(value, dict):
        return {key: bare(inner) for key, inner in value.items() if key != "documentation" or not isinstance(inner, str)}
    return [bare(inner) for inner in value] if isinstance(value, list) else value
with open(sys.argv[1], "w") as file:
    json.dump(bare(model), file)
PYTHON
    works "$out" || fail "moto does not run: $("$out/bin/python" -c 'import moto.server, boto3' 2>&1 | tail -3)"
    touch "$out/.complete"
    find "$store" -mindepth 1 -maxdepth 1 -type d ! -path "$out" -mtime +14 -exec rm -rf {} +
    say "installed"
fi
echo "$out"
