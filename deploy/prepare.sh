#!/usr/bin/env bash
# Prepares this checkout: Python packages into .venv, what browsers are served into build/web, Debian packages for tests.
#   deploy/prepare.sh runtime   what `make demo` needs
#   deploy/prepare.sh dev       what `make test` and `make check` need as well
#   deploy/prepare.sh bench     what `make bench` needs as well: the programs to compare with
# Everything comes from locked lists. What is already there is not fetched again, so the second time works offline.
set -euo pipefail
cd "$(dirname "$0")/.."

kind=${1:-runtime}
venv=.venv
started=$SECONDS

say() { printf '%s\n' "$*" >&2; }
die() { say "" "Cannot go on: $1" "Remedy: $2"; exit 1; }

apt_may_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

# Install Debian packages, or say exactly what to install.
need_debian() {
    apt_may_install || die "these Debian packages are missing: $*" "sudo apt-get install --no-install-recommends $*"
    say "Installing Debian packages: $*"
    apt-get update -qq || say "apt-get update failed; trying with the lists that are here"
    # RUNLEVEL=1 keeps a freshly installed server from being started: tests start their own.
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null \
        || die "apt-get could not install: $*" "look at its message above, then: apt-get install --no-install-recommends $*"
}

find_python() {
    local candidate
    for candidate in python3.11 python3.12 python3.13 python3; do
        if command -v "$candidate" >/dev/null \
            && "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 12))' 2>/dev/null; then
            printf '%s' "$candidate"
            return
        fi
    done
    die "no Python 3.11 was found" "apt-get install python3.11 python3-venv (Debian 12 has it)"
}

# Note that something is done; a new file, for checkouts may share their files by hard links.
note_done() { printf '%s' "$2" >"$1.new" && mv -f "$1.new" "$1"; }

make_venv() {
    local python
    [ -x "$venv/bin/python" ] && "$venv/bin/python" -c '' 2>/dev/null && return
    python=$(find_python)
    rm -rf "$venv"
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then need_debian python3-venv; fi
    say "Creating $venv with $("$python" --version)"
    "$python" -m venv "$venv" || die "$python could not create $venv" "look at its message above"
}

install_python() {
    local lock="deploy/requirements/$1.txt" stamp="$venv/.$1.sha256" want missing
    want=$(sha256sum "$lock" pyproject.toml | sha256sum)
    [ "$(cat "$stamp" 2>/dev/null)" = "$want" ] && return
    # A machine that ran `make test` already has everything that the demo needs.
    if [ "$1" = runtime ] && [ "$(cat "$venv/.dev.sha256" 2>/dev/null)" = "$(sha256sum deploy/requirements/dev.txt pyproject.toml | sha256sum)" ]; then return; fi
    say "Installing Python packages ($lock)"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r "$lock" \
        || die "pip could not install $lock" "is there a network, and a reachable package index?"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . \
        || die "pip could not install this checkout" "look at its message above"
    missing=$("$venv/bin/python" -m pip check --disable-pip-version-check) \
        || die "$lock does not hold all that $("$venv/bin/python" -V) needs" "$missing"
    note_done "$stamp" "$want"
}

build_assets() {
    local stamp=build/web/.sha256 want
    want=$(cat deploy/assets/package-lock.json deploy/assets/build.py deploy/assets/viewer/* | sha256sum)
    [ "$(cat "$stamp" 2>/dev/null)" = "$want" ] && return
    command -v npm >/dev/null || die "npm was not found; the image viewer comes through it" "install Node.js 20 with npm"
    say "Fetching the image viewer, fonts and page script (npm)"
    rm -rf build/node && mkdir -p build/node
    cp deploy/assets/package.json deploy/assets/package-lock.json build/node/
    (cd build/node && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2) \
        || die "npm could not install deploy/assets/package-lock.json" "is there a network, and a reachable npm registry?"
    "$venv/bin/python" deploy/assets/build.py build/node/node_modules build/web >&2
    rm -rf build/node
    note_done "$stamp" "$want"
}

# The viewer's own DICOMweb client as a file, for the tests alone.
fetch_for_tests() {
    local stamp=build/for_tests/.sha256 want
    want=$(sha256sum <deploy/assets/for_tests/package-lock.json)
    [ "$(cat "$stamp" 2>/dev/null)" = "$want" ] && return
    say "Fetching the DICOMweb client for the tests (npm)"
    rm -rf build/node build/for_tests && mkdir -p build/node build/for_tests
    cp deploy/assets/for_tests/package.json deploy/assets/for_tests/package-lock.json build/node/
    (cd build/node && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2) \
        || die "npm could not install deploy/assets/for_tests/package-lock.json" "is there a network, and a reachable npm registry?"
    cp build/node/node_modules/dicomweb-client/build/dicomweb-client.js build/for_tests/
    rm -rf build/node
    note_done "$stamp" "$want"
}

# Real peers for the tests: DICOM tools, a browser, a broker, PDF and barcode readers, Chinese fonts for screenshots.
install_debian_for_tests() {
    local missing=()
    command -v storescu >/dev/null || missing+=(dcmtk)
    command -v chromium >/dev/null || missing+=(chromium)
    [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || missing+=(rabbitmq-server)
    command -v pdftotext >/dev/null || missing+=(poppler-utils)
    command -v zbarimg >/dev/null || missing+=(zbar-tools)
    case $(fc-list 2>/dev/null) in *NotoSansCJK* | *"Noto Sans CJK"*) ;; *) missing+=(fonts-noto-cjk fontconfig) ;; esac
    [ ${#missing[@]} = 0 ] || need_debian "${missing[@]}"
}

# Programs that the benchmarks compare with. Installing Orthanc must not leave its service enabled or running here.
install_debian_for_benchmarks() {
    local missing=()
    command -v storescp >/dev/null || missing+=(dcmtk)
    command -v Orthanc >/dev/null || [ -x /usr/sbin/Orthanc ] || missing+=(orthanc)
    [ -e /usr/share/orthanc/plugins/libOrthancDicomWeb.so ] || missing+=(orthanc-dicomweb)
    [ ${#missing[@]} = 0 ] && return
    need_debian "${missing[@]}"
    case " ${missing[*]} " in *" orthanc"*)
        if [ -d /run/systemd/system ]; then systemctl --quiet disable --now orthanc.service
        elif command -v systemctl >/dev/null; then systemctl --quiet disable orthanc.service; fi ;;
    esac
}

make_venv
case $kind in
    runtime) install_python runtime; build_assets ;;
    dev) install_debian_for_tests; install_python dev; build_assets; fetch_for_tests ;;
    bench) install_debian_for_tests; install_debian_for_benchmarks; install_python dev; build_assets ;;
    *) die "unknown word: $kind" "deploy/prepare.sh runtime|dev|bench" ;;
esac
if [ $((SECONDS - started)) -ge 5 ]; then
    say "Prepared in $((SECONDS - started)) s"
    [ "$kind" != runtime ] || printf '%s\n' $((SECONDS - started)) >build/prepared_s
fi
