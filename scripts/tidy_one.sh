#!/usr/bin/env bash
# Runs clang-tidy on one file: tidy_one.sh KEPT HEADERS INCLUDES FILE. The name of an empty file in
# KEPT says that this very content, with these headers and settings, was clean.
set -euo pipefail
kept=$1 headers=$2 includes=$3 file=$4
root=$(cd "$(dirname "$0")/.." && pwd)
key=$kept/$({ echo "$headers $file"; cat "$file"; } | sha256sum | cut -c 1-40)
if [ -e "$key" ]; then touch "$key"; exit 0; fi

case $file in
  *.cpp) standard=-std=c++17 ;;
  *) standard=-std=c11 ;;
esac
prelude=()
if [ "$file" != src/base/error.c ] && [ "${file##*.}" = c ] && [ -e src/base/error.h ]; then
  prelude=(-include "$root/scripts/tidy_prelude.h")
fi
if ! output=$("$root/.venv/bin/clang-tidy" --quiet --config-file="$root/.clang-tidy" "$file" -- \
  "$standard" -D_GNU_SOURCE '-DMLDASH_VERSION="0"' -Iinclude -Isrc "${prelude[@]}" \
  -isystem "$includes" 2>&1); then
  # Each finding with its place, without the path that led the analyzer there.
  printf '%s\n' "$output" | awk '/: (error|warning): / { lines = 3 } lines-- > 0'
  exit 1
fi
touch "$key"
