#!/usr/bin/env bash
# Formats the C, C++ and Python sources in place: all of them, or the files named.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

scripts/install.sh build lint
if [ $# = 0 ]; then
  mapfile -t all < <(find include src python tests bench examples -name __pycache__ -prune -o \
    -type f -regex '.*\.\(c\|h\|cpp\|py\|pyi\)' -print 2> /dev/null)
  set -- "${all[@]}" scripts/*.py
fi
for file in "$@"; do
  case $file in
    *.py | *.pyi)
      "$venv/bin/ruff" check --quiet --fix-only --select I "$file"
      "$venv/bin/ruff" format --quiet "$file" ;;
    *) "$venv/bin/clang-format" -i "$file" ;;
  esac
done
