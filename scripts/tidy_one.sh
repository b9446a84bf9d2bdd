#!/usr/bin/env bash
# Runs clang-tidy on one file: tidy_one.sh KEPT SETTINGS INCLUDES FILE. Findings are kept in a
# file of KEPT, named after the content, that of the headers it includes and the settings; empty
# means clean.
set -euo pipefail
kept=$1 settings=$2 includes=$3 file=$4
root=$(cd "$(dirname "$0")/.." && pwd)

case $file in
  *.cpp) standard=-std=c++17 compiler=${CXX:-c++} ;;
  *) standard=-std=c11 compiler=${CC:-cc} ;;
esac
prelude=()
if [ "$file" != src/base/error.c ] && [ "${file##*.}" = c ] && [ -e src/base/error.h ]; then
  prelude=(-include "$root/scripts/tidy_prelude.h")
fi
flags=("$standard" -D_GNU_SOURCE '-DMLDASH_VERSION="0"' -Iinclude -Isrc "${prelude[@]}"
  -isystem "$includes")
# "file.o: file.c header.h \" and so on; system headers are not in it.
read_files=$("$compiler" -MM "${flags[@]}" "$file" 2> /dev/null | sed 's/^[^:]*://; s/\\$//') ||
  read_files=$file
# shellcheck disable=SC2086
key=$kept/$({ echo "$settings $file"; cat $read_files; } | sha256sum | cut -c 1-40)
if [ -e "$key" ]; then
  touch "$key"
  cat "$key"
  [ ! -s "$key" ]
  exit
fi

if ! output=$("$root/.venv/bin/clang-tidy" --quiet --config-file="$root/.clang-tidy" "$file" -- \
  "${flags[@]}" 2>&1); then
  # Each finding with its place, without the path that led the analyzer there.
  printf '%s\n' "$output" | awk '/: (error|warning): / { lines = 3 } lines-- > 0' > "$key.new"
  [ -s "$key.new" ] || printf '%s\n' "$output" > "$key.new"
  cat "$key.new"
  case $output in
    *clang-diagnostic-error*) rm "$key.new" ;; # a header may have been missing
    *) mv "$key.new" "$key" ;;
  esac
  exit 1
fi
: > "$key"
