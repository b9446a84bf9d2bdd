#!/usr/bin/env bash
# Builds .venv: the package ml_dash (release) and the command .venv/bin/ml-dash. Nothing to do when
# no source changed since the last time.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

scripts/install.sh build
lock
sources=(meson.build meson_options.txt pyproject.toml README.md include src python)
state=$(source_state "${sources[@]}")
if [ -e "$venv/.built" ] && [ "$(cat "$venv/.built")" = "$state" ]; then
  exit 0
fi
section "building"
start=$(date +%s)
# The build directory stays, so that only what changed is compiled.
if ! "$venv/bin/pip" install --no-build-isolation --no-deps --no-index \
  --config-settings=build-dir=build/python . > build/python.log 2>&1; then
  cat build/python.log
  die "the build failed; all of its output is above"
fi
echo "$state" > "$venv/.built"
echo "built in $(($(date +%s) - start)) s, into .venv"
