#!/usr/bin/env bash
# Installs what the tests in this folder run against, where it is missing: packages of Debian, and below build/interop
# those of npm (package.json) and of Python (requirements.txt), which have an environment of their own. Says what it
# does, and where it cannot go on, what to do. The one argument is a Python that can make environments.
set -euo pipefail
python=$(realpath --no-symlinks "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
from=tests/interop
into=build/interop
PATH=$PATH:/usr/sbin

say() { echo "interop: $*" >&2; }
fail() { say "$*"; exit 1; }
missing() { ! command -v "$1" >/dev/null; }

debian() {
    local wanted=() root=()
    local program
    for program in "${!packages[@]}"; do
        if missing "$program"; then wanted+=("${packages[$program]}"); fi
    done
    if [ ${#wanted[@]} -eq 0 ]; then return; fi
    missing apt-get && fail "these are missing, and there is no apt-get: install what Debian calls ${wanted[*]}"
    if [ "$(id -u)" -ne 0 ]; then
        missing sudo && fail "these are missing, and only root may install them: apt-get install ${wanted[*]}"
        root=(sudo --non-interactive)
    fi
    say "installs ${wanted[*]}"
    "${root[@]}" apt-get update --quiet --quiet
    # Services are not started: each test starts its own.
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install --quiet --quiet --yes --no-install-recommends "${wanted[@]}" >"$into/apt.log" 2>&1 ||
        { tail -n 20 "$into/apt.log" >&2; fail "apt-get could not install ${wanted[*]}: see $into/apt.log"; }
}

# Whether what was installed by this list, and for this, is still there. That is written down last.
wanted() { cat "$from/$1"; echo "for $2"; }
current() { wanted "$1" "$2" | cmp --silent - "$into/$1" && [ -e "$into/$3" ]; }

npm_packages() {
    if current package-lock.json "$(node --version)" node_modules; then return; fi
    say "installs the packages of npm in $from/package-lock.json"
    rm -rf "$into/package-lock.json" "$into/node_modules"
    mkdir -p "$into/npm"
    cp "$from/package.json" "$from/package-lock.json" "$into/npm"
    npm ci --prefix "$into/npm" --ignore-scripts --no-audit --no-fund --loglevel=error ||
        fail "npm could not install them: is there a network, and is node new enough ($(node --version))?"
    mv "$into/npm/node_modules" "$into"
    wanted package-lock.json "$(node --version)" >"$into/package-lock.json"
}

python_packages() {
    local version
    version=$("$python" --version)
    if current requirements.txt "$version" python/bin/python; then return; fi
    say "installs the packages of Python in $from/requirements.txt"
    rm -f "$into/requirements.txt"
    "$python" -m venv --clear "$into/python"
    "$into/python/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$from/requirements.txt" ||
        fail "pip could not install them: is there a network?"
    wanted requirements.txt "$version" >"$into/requirements.txt"
}

declare -A packages=(
    [bwrap]=bubblewrap
    [chromium]=chromium
    [nats-server]=nats-server
    [nginx]=nginx-light
    [node]=nodejs
    [npm]=npm
    [openssl]=openssl
    [systemd-run]=systemd
)
mkdir -p "$into"
debian
npm_packages
python_packages
