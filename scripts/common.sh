# Sourced by the other scripts: strict mode, the project's root as working directory, a few helpers.
# shellcheck shell=bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
venv=$root/.venv
# Meson looks for ninja in PATH.
export PATH=$venv/bin:$PATH
export LC_ALL=C.UTF-8 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1

section() { printf '\n== %s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# One build or installation at a time: several terminals may share a tree.
lock() { mkdir -p build; exec 9> build/.lock; flock 9; }
unlock() { exec 9>&-; }

# source_state PATH...: a short text that changes when a file below one of the paths does.
source_state() {
  find "$@" -name __pycache__ -prune -o -type f -printf '%p %s %T@\n' 2> /dev/null |
    sort | sha256sum
}

# run_quietly LOG COMMAND...: shows the output only when the command fails.
run_quietly() {
  local log=$1; shift
  mkdir -p "$(dirname "$log")"
  "$@" > "$log" 2>&1 || { cat "$log"; return 1; }
}

# meson_build FOLDER OPTION...: configures the folder, at first or when the options changed, and
# compiles.
meson_build() {
  local folder=$1; shift
  local options="$*"
  if [ "$(cat "$folder/.options" 2> /dev/null)" != "$options" ]; then
    rm -rf "$folder"
    run_quietly "$folder.log" "$venv/bin/meson" setup "$folder" "$@" || return 1
    echo "$options" > "$folder/.options"
  fi
  run_quietly "$folder.log" "$venv/bin/meson" compile -C "$folder"
}

# The plain library, as a user would build and install it, with the tests.
release_options=(--buildtype=release -Dpython=disabled -Dtests=enabled "--prefix=$root/build/prefix"
  --libdir=lib)
