#!/usr/bin/env bash
# All static checks, or those named: lint.sh [--tree DIR] [CHECK...]
#   format tidy ruff mypy stubs budget headers symbols shell
# Each check prints what is wrong; the last line counts. --tree checks another tree of the same
# layout with this tree's tools and settings (the checks' own tests use it).
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

tree=$root
if [ "${1-}" = --tree ]; then tree=$(realpath "$2"); shift 2; fi
checks=("$@")
[ $# != 0 ] || checks=(format tidy ruff mypy stubs budget headers symbols shell)
cd "$tree"
jobs=$(nproc)

sources() { # sources REGEX FOLDER...
  local regex=$1; shift
  { find "$@" -type f -regex ".*\.\($regex\)" 2> /dev/null || true; } | sort
}

lint_format() {
  local status=0
  sources 'c\|h\|cpp' include src python tests bench examples |
    xargs -r "$venv/bin/clang-format" --style="file:$root/.clang-format" --dry-run --Werror \
      > "$work/format" 2>&1 || status=1
  sed -n 's/:[0-9:]* error: code should be clang-formatted.*/: lines to reformat/p' "$work/format" |
    uniq -c
  "$venv/bin/ruff" format --config "$root/pyproject.toml" --check --quiet . || status=1
  [ $status = 0 ] || echo "run scripts/format.sh FILE..."
  return $status
}

# What a file's verdict depends on: itself, its headers, the settings. A clean verdict is kept.
lint_tidy() {
  local settings kept=$root/build/lint/tidy includes
  mkdir -p "$kept"
  settings=$(cat "$root/.clang-tidy" "$root/scripts/requirements/lint.txt" \
    "$root"/scripts/tidy_* | sha256sum)
  includes=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
  find "$kept" -type f -mtime +14 -delete
  sources 'c\|cpp' src python |
    xargs -r -P "$jobs" -n 1 "$root/scripts/tidy_one.sh" "$kept" "$settings" "$includes"
}

lint_ruff() {
  "$venv/bin/ruff" check --config "$root/pyproject.toml" --quiet .
}

lint_mypy() {
  [ -e python/ml_dash/__init__.py ] || return 0
  "$venv/bin/mypy" --config-file "$root/pyproject.toml" --no-error-summary \
    --cache-dir "$root/build/lint/mypy" python/ml_dash
}

# The stubs say what the built extension has.
lint_stubs() {
  local stub=python/ml_dash/_core.pyi
  [ -e "$stub" ] || return 0
  MYPYPATH=python "$venv/bin/python" -m mypy.stubtest ml_dash._core \
    --mypy-config-file "$root/pyproject.toml" > "$root/build/lint/stubs.log" 2>&1 ||
    { cat "$root/build/lint/stubs.log"; return 1; }
}

lint_budget() {
  "$venv/bin/python" "$root/scripts/style_budget.py" "$tree"
}

# A public header compiles alone, as C and as C++, under hard warnings and without feature macros.
lint_headers() {
  local header status=0
  local common=(-Wall -Wextra -Wpedantic -Wconversion -Werror -Iinclude -fsyntax-only)
  for header in include/mldash/*.h; do
    echo "#include <mldash/$(basename "$header")>" > "$work/alone.c"
    cp "$work/alone.c" "$work/alone.cpp"
    ${CC:-cc} -std=c11 -Wstrict-prototypes -Wshadow "${common[@]}" "$work/alone.c" || status=1
    ${CXX:-c++} -std=c++17 -Wzero-as-null-pointer-constant "${common[@]}" "$work/alone.cpp" ||
      status=1
  done
  return $status
}

# The shared library exports what the public headers declare, and nothing else.
lint_symbols() {
  local library=$tree/build/release/libmldash.so
  [ "$tree" != "$root" ] || meson_build "$root/build/release" "${release_options[@]}" || return 1
  nm -D --defined-only "$library" | awk '{ print $3 }' | sort > "$work/exported"
  cat include/mldash/*.h | tr '\n' ' ' | grep -o 'MLD_API [^;{]*' |
    grep -o 'mld_[a-z0-9_]*(' | tr -d '(' | sort -u > "$work/declared"
  [ -s "$work/declared" ] || { echo "no MLD_API function in include/mldash"; return 1; }
  diff -u --label declared "$work/declared" --label exported "$work/exported"
}

lint_shell() {
  local script status=0
  while read -r script; do
    bash -n "$script" || status=1
  done < <(sources sh scripts tests examples bench; [ ! -e .ci/run ] || echo .ci/run)
  return $status
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$root/build/lint"
failed=0
for check in "${checks[@]}"; do
  declare -F "lint_$check" > /dev/null || die "no such check: $check"
  if "lint_$check" > "$work/output" 2>&1; then
    verdict=ok
    [ "$check" != budget ] || cat "$work/output"
  else
    verdict=FAILED failed=$((failed + 1))
    cat "$work/output"
  fi
  printf 'lint %-8s %s\n' "$check" "$verdict"
done
[ ${#checks[@]} = 1 ] || printf 'lint: %d passed, %d failed\n' $((${#checks[@]} - failed)) "$failed"
[ "$failed" = 0 ]
