#!/bin/sh
# Makes the virtual environment $1 with the first Python >= 3.11 found: $PYTHON if given, else python3 and its kin.
# An environment that is there already, and works, is kept.
set -eu
venv=$1

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

if [ -x "$venv/bin/python" ] && new_enough "$venv/bin/python" && "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    exit 0
fi
for python in ${PYTHON:-python3 python python3.14 python3.13 python3.12 python3.11}; do
    new_enough "$python" || continue
    if "$python" -m venv --clear "$venv"; then
        exit 0
    fi
    echo "$python cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv" >&2
done
echo "no Python 3.11 or newer found (tried: ${PYTHON:-python3 python python3.14 python3.13 python3.12 python3.11});" \
    "name one: make PYTHON=/path/to/python3" >&2
exit 1
