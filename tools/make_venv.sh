#!/usr/bin/env bash
# Builds the virtual environment $1 with $PYTHON: the exact releases of
# requirements.lock, then this checkout itself. With LOCK= (empty) the newest
# releases within the ranges of pyproject.toml instead.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=$1
python=${PYTHON:-python3}
lock=${LOCK-requirements.lock}

die() {
  printf '%s\n' "$@" >&2
  exit 1
}

command -v "$python" >/dev/null ||
  die "There is no '$python'. Install Python 3.11 or newer, or name one:" \
    "  make PYTHON=/path/to/python3.11 $venv"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  die "$("$python" --version) is too old: jaxpriv needs 3.11 or newer." \
    "Name another one: make PYTHON=/path/to/python3.11 $venv"

# Debian ships the interpreter without the module that fills environments, and
# fails only after it has made half of one: so ask for pip, not for a folder.
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    die "$python cannot make virtual environments: a module is missing." \
      "On Debian and Ubuntu install it, then run make again:" \
      "  sudo apt-get install python3-venv"
  echo "Making $venv with $("$python" --version)"
  "$python" -m venv --clear "$venv"
fi

export PIP_DISABLE_PIP_VERSION_CHECK=1
# Only errors: what pip says of mirrors and caches helps nobody here.
install=("$venv/bin/python" -m pip install -qq --use-pep517)
echo "Installing what jaxpriv needs into $venv (a minute or two) ..."
if [[ -n $lock ]]; then
  "${install[@]}" --require-hashes -r "$lock"
  "${install[@]}" --no-deps -e .
else
  "${install[@]}" -e '.[test,dev]'
fi
