#!/usr/bin/env bash
# Environments of the published clients, build/clients/{version}/bin/python, for the compatibility
# tests. They are made once and kept. A version that needs a newer Python than the system's is left
# out.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

lock
python=$("$venv/bin/python" -c 'import sys; print(sys._base_executable)')
for version in 0.6.1 0.6.27 0.11.0; do
  folder=build/clients/$version
  [ ! -e "$folder/.ready" ] || continue
  section "published client ml-dash $version"
  rm -rf "$folder"
  "$python" -m venv "$folder"
  # numpy and torch are not theirs to require, but users have numpy; it makes their folders richer.
  log=build/client-$version.log
  if "$folder/bin/pip" install --quiet "ml-dash==$version" numpy > "$log" 2>&1; then
    touch "$folder/.ready"
  elif grep -q 'Requires-Python\|requires a different Python' "$log"; then
    echo "left out: it does not run on $("$python" --version)"
    rm -rf "$folder"
  else
    tail -n 5 "$log"
    die "ml-dash $version could not be installed from the package index"
  fi
done
