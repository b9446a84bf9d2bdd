#!/usr/bin/env bash
# Runs the tests: test.sh [PART...], all parts unless named, in this order:
#   asan      C unit tests, debug, with address and undefined behaviour sanitizers
#   release   the same, optimised and without assertions
#   http      the HTTP layer of the server, with the same sanitizers, over raw sockets
#   python cli client sync compat crash   the pytest folders tests/...: client is syncing against a
#             server that fails on request, sync against the real one, compat the published clients
#   lint      scripts/lint.sh and tests/lint, in which each check must fail
#   examples  every program in examples/
# Every part runs even when one fails. The last line is the sum.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

parts=("$@")
[ $# != 0 ] || parts=(asan release http python cli client sync compat crash lint examples)
started=$(date +%s)
work=$(mktemp -d)
results=$work/results
trap 'rm -rf "$work"' EXIT

scripts/install.sh build demo test lint
scripts/build.sh
mkdir -p "$results" "$work/home"

# Tests see no settings and no display of the user's, and never ask a package index.
tests_environment() {
  env HOME="$work/home" XDG_CACHE_HOME="$work/home/.cache" MPLBACKEND=Agg \
    ML_DASH_NO_VERSION_CHECK=1 "$@"
}

# step NAME COMMAND...: one test that is a command. Its verdict is a line of the results.
step() {
  local name=$1 verdict=failed; shift
  if "$@"; then verdict=passed; fi
  echo "$verdict $name" >> "$results/steps"
  [ "$verdict" = passed ]
}

unit_tests() { # NAME OPTION...
  local name=$1 folder=$root/build/$1; shift
  step "build of $name" meson_build "$folder" "$@" || return 0
  tests_environment ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1 \
    UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
    "$venv/bin/meson" test -C "$folder" --no-rebuild --print-errorlogs --num-processes "$(nproc)" ||
    { grep -A 8 '^not ok' "$folder/meson-logs/testlog.txt" || true; }
  cp "$folder/meson-logs/testlog.junit.xml" "$results/$name.xml" ||
    echo "failed unit tests of $name left no result" >> "$results/steps"
}

asan_options=(--buildtype=debug -Db_sanitize=address,undefined -Db_lundef=false -Dpython=disabled
  -Dtests=enabled -Dwerror=true)

part_asan() {
  unit_tests asan "${asan_options[@]}"
}

part_release() {
  unit_tests release "${release_options[@]}"
}

pytest_in() { # NAME FOLDER
  local status=0
  if [ ! -d "$2" ]; then echo "there is no $2 yet"; return; fi
  tests_environment "$venv/bin/python" -m pytest -q -p no:cacheprovider --durations=5 \
    --junitxml="$results/$1.xml" -o junit_suite_name="$1" "$2" || status=$?
  # 1: some failed, and the file says which; anything else never got to tell.
  [ $status -le 1 ] || echo "failed pytest $2 ended with status $status" >> "$results/steps"
}

part_http() {
  step "build of the test server" meson_build "$root/build/asan" "${asan_options[@]}" || return 0
  if [ ! -e build/asan/tests/http/http_test_server ]; then
    echo "left out: the server's libraries are not here"; return
  fi
  pytest_in http tests/http
}

part_python() { pytest_in python tests/python; }
part_cli() { pytest_in cli tests/cli; }
part_client() { pytest_in client tests/client; }
part_sync() { pytest_in sync tests/sync; }

part_compat() {
  if [ -d tests/compat ]; then step "published clients" scripts/clients.sh || true; fi
  pytest_in compat tests/compat
}

part_crash() { pytest_in crash tests/crash; }

part_lint() {
  local check
  for check in format tidy ruff mypy stubs budget headers symbols shell; do
    step "lint $check" scripts/lint.sh "$check" || true
  done
  pytest_in lint tests/lint
}

part_examples() {
  step "install of the library" meson_build build/release "${release_options[@]}" || return 0
  step "install of the library" run_quietly build/install.log "$venv/bin/meson" install \
    -C build/release --no-rebuild || return 0
  step "use from C++" use_from_cplusplus || true
  local folder
  for folder in examples/*/; do
    [ ! -e "$folder/train.py" ] && [ ! -e "$folder/Makefile" ] ||
      step "example $folder" example "${folder%/}" || true
    cd "$root"
  done
}

# An example is a train.py, or a Makefile whose target `run` uses the installed library alone. It
# works in a copy of examples/.
example() {
  local name
  name=$(basename "$1")
  section "example $name"
  cp -r examples "$work/"
  cd "$work/examples/$name" || return 1
  if [ "$name" = torch ] && ! "$venv/bin/python" -c 'import torch' 2> /dev/null; then
    echo "left out: no torch here"
  elif [ -e train.py ]; then
    tests_environment "$venv/bin/python" train.py
  else
    tests_environment make --no-print-directory run CFLAGS="-O2 -Wall -Wextra -Wpedantic -Werror" \
      PKG_CONFIG_PATH="$root/build/prefix/lib/pkgconfig"
  fi
}

use_from_cplusplus() {
  printf '%s\n' '#include <mldash/mldash.h>' '#include <cstdio>' \
    'int main() { return std::puts(mld_version()) < 0; }' > "$work/use.cpp"
  local flags
  flags=$(PKG_CONFIG_PATH=$root/build/prefix/lib/pkgconfig pkg-config --cflags --libs mldash) ||
    return 1
  # shellcheck disable=SC2086
  "${CXX:-c++}" -std=c++17 -Wall -Wextra -Werror -o "$work/use" "$work/use.cpp" $flags \
    "-Wl,-rpath,$root/build/prefix/lib" && "$work/use"
}

for part in "${parts[@]}"; do
  declare -F "part_$part" > /dev/null || die "no such part: $part"
  section "test: $part"
  start=$(date +%s)
  "part_$part"
  cd "$root"
  echo "-- $part took $(($(date +%s) - start)) s"
done

section "result after $(($(date +%s) - started)) s"
rm -rf build/results
cp -r "$results" build/results
"$venv/bin/python" scripts/sum_results.py "$results"
