#!/bin/sh
# Makes this checkout ready to run: .venv with the locked packages, .servers with the practice databases.
#
#   tools/setup.sh          does what is still missing; safe to run again
#   tools/setup.sh quick    leaves at once when the last run was of the same files (what make uses)
#
# Needs python3 (3.11 or newer) and the package registries. No root, and nothing outside this folder changes.
# PYTHON names another interpreter.
set -eu
cd "$(dirname "$0")/.."
here=$(pwd)
PATH=${PATH:-/usr/bin:/bin}
export PATH PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf 'setup: %s\n' "$*"; }
loud() { printf '\nsetup: *** %s ***\n\n' "$*" >&2; }
fail() { loud "$*"; exit 1; }

stamp=.servers/ready
# The place counts too: a moved virtual environment does not work.
now="$here $(cat requirements.lock requirements-postgres.lock pyproject.toml tools/*.sh | cksum)"
if [ "${1:-}" = quick ] && [ -x .venv/bin/python ] && [ "$(cat $stamp 2>/dev/null)" = "$now" ]; then exit 0; fi

# Python and .venv

for python in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then break; fi
    python=
done
[ -n "$python" ] || fail "Python 3.11 or newer is needed and was not found: install it, or name it with PYTHON=..."

if ! .venv/bin/python -c 'import pip' 2>/dev/null || ! grep -q "$here/.venv" .venv/bin/activate; then
    say "making .venv with $("$python" --version)"
    rm -rf .venv
    if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        "$python" -m venv .venv
    else
        # Debian keeps pip's wheel in a package of its own; unpacking it does the same as installing it.
        say "this Python came without pip: fetching it"
        "$python" -m venv --without-pip .venv && tools/getdb.sh .venv/wheel trixie python3-pip-whl ||
            fail "no pip for $python: install the package python3-venv"
        set -- .venv/wheel/root/usr/share/python-wheels/pip-*.whl
        PYTHONPATH=$1 .venv/bin/python -m pip install -q --no-index "$1"
        rm -rf .venv/wheel
    fi
fi

# Runs pip with the words given, and shows that it is alive.
pip_install() {
    { .venv/bin/python -m pip install --progress-bar off "$@" 2>&1 || echo 'ERROR: pip failed'; } | tee .venv/pip.log |
        while read -r word rest; do
            case $word in
                Collecting | Processing) count=$((${count:-0} + 1)); [ $((count % 20)) -ne 0 ] || say "  $count packages" ;;
                Installing) [ "${count:-0}" -lt 20 ] || say "  unpacking $count packages; this takes half a minute" ;;
            esac
        done
    if grep -q '^ERROR: pip failed' .venv/pip.log; then
        tail -n 20 .venv/pip.log >&2
        return 1
    fi
}

say "installing the locked packages"
pip_install --no-compile --require-hashes --no-deps -r requirements.lock || fail "the packages could not be installed"
pip_install --no-deps --no-build-isolation -e . || fail "rdsca itself could not be installed"

# Uses all cores, which pip would not, and goes on while servers are fetched.
.venv/bin/python -m compileall -q -j 0 .venv/lib >/dev/null 2>&1 &
compiling=$!

# Database servers

missing() {
    .venv/bin/python -c "import sys; from rdsca_helpers.lab.servers import why_missing; sys.exit(not why_missing('$1'))"
}

# A wheel of 30 MB if this machine has the libraries that it leans on, else Debian's package of 90 MB.
postgres() {
    pg0=$here/.servers/pg0
    rm -rf "$pg0"
    if pip_install --require-hashes --no-deps --target "$pg0" -r requirements-postgres.lock; then
        # The wheel's program unpacks its servers into HOME at the first start. As root that start then fails: no matter.
        HOME=$pg0 "$pg0/pg0/bin/pg0" start -d "$pg0/data" >.venv/pg0.log 2>&1 || true
        HOME=$pg0 "$pg0/pg0/bin/pg0" stop >>.venv/pg0.log 2>&1 || true
        rm -rf .servers/postgres
        mv "$pg0"/.pg0/installation/* .servers/postgres || true
        rm -rf "$pg0"
    fi
    if missing postgres; then tools/getdb.sh .servers/postgres trixie postgresql-17; fi
}

mariadb() { tools/getdb.sh .servers/mariadb trixie mariadb-server-core mariadb-client-core; }

# Only Debian's newest suite has MySQL. On Ubuntu the package has another name.
mysql() {
    if grep -q '^ID=ubuntu' /etc/os-release 2>/dev/null; then
        tools/getdb.sh .servers/mysql - default-mysql-server-core
    else
        tools/getdb.sh .servers/mysql sid mysql-server-core
    fi
}

for kind in postgres mariadb mysql; do
    if missing $kind; then
        say "fetching the practice server $kind"
        $kind || true
        if missing $kind; then
            rm -rf ".servers/$kind"
            loud "$kind could not be had: $(.venv/bin/python -c "
from rdsca_helpers.lab.servers import why_missing
print(why_missing('$kind'))")"
        fi
    fi
done

say "compiling the packages"
wait $compiling || true # some packages carry templates that are not Python
mkdir -p .servers
echo "$now" >$stamp
say "ready"
