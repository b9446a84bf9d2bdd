#!/usr/bin/env bash
# Measures beside the peers: bench.sh [ARGUMENT...] calls bench/run.py with the package of .venv and
# the peers of bench/requirements.txt in their own environment, build/peers. JSON goes to
# build/bench.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

scripts/install.sh build demo test
scripts/build.sh
scripts/clients.sh
lock
meson_build build/release "${release_options[@]}"
peers=build/peers
if ! cmp -s bench/requirements.txt "$peers/.requirements"; then
  section "peers of bench/requirements.txt"
  rm -rf "$peers"
  "$("$venv/bin/python" -c 'import sys; print(sys._base_executable)')" -m venv "$peers"
  run_quietly build/peers.log "$peers/bin/pip" install --quiet -r bench/requirements.txt
  cp bench/requirements.txt "$peers/.requirements"
fi
unlock
mkdir -p build/bench
exec "$venv/bin/python" bench/run.py "$@"
