#!/usr/bin/env bash
# Installs what is missing: install.sh GROUP...   with the groups build, demo, test, lint.
# System packages by apt (Debian 12, Ubuntu 22.04 and newer; as root or through sudo), Python tools
# into .venv. What is there already is left alone: then neither root nor a network is needed.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

build_packages=(gcc g++ libc6-dev libssl-dev libcurl4-openssl-dev libmicrohttpd-dev libjansson-dev
  libsqlite3-dev libzstd-dev pkg-config python3 python3-dev python3-venv)
demo_packages=(python3-numpy python3-matplotlib python3-sklearn python3-pil)
test_packages=(libcmocka-dev make strace)
lint_packages=()
# Used when the distribution has it; the tests that need it are skipped without.
test_optional=(python3-torch nginx-light)

installed() { # a name may be a virtual package, as pkg-config is
  dpkg-query -W -f '${Package} ${Provides}, ${db:Status-Status}\n' 2> /dev/null |
    awk -v want="$1" '$NF == "installed" { gsub(/[(][^)]*[)],?|,/, " ")
      for (i = 1; i < NF; i++) if ($i == want) { found = 1 } } END { exit !found }'
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@" 9>&-
  elif command -v sudo > /dev/null; then sudo "$@" 9>&-
  else die "these packages are missing and need root: $missing (run: apt-get install $missing)"; fi
}

install_system() {
  local package missing="" optional=""
  command -v dpkg-query > /dev/null || { check_by_hand; return; }
  for package in "$@"; do installed "$package" || missing+="$package "; done
  if [ "$with_optional" = yes ] && [ ! -e build/.optional-tried ]; then
    for package in "${test_optional[@]}"; do installed "$package" || optional+="$package "; done
  fi
  [ -n "$missing$optional" ] || return 0
  section "installing $missing$optional"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
  # shellcheck disable=SC2086
  apt_install $missing
  for package in $optional; do
    apt_install "$package" || echo "note: $package is not to be had here: its tests are skipped"
  done
  if [ "$with_optional" = yes ]; then touch build/.optional-tried; fi
}

apt_install() {
  [ $# != 0 ] || return 0
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" \
    > build/apt.log 2>&1 || { tail -n 20 build/apt.log; return 1; }
}

check_by_hand() {
  local tool
  for tool in cc c++ pkg-config python3; do
    command -v "$tool" > /dev/null || die "no apt here, and '$tool' is missing: please install it"
  done
}

make_venv() {
  local python=/usr/bin/python3
  [ -x "$python" ] || python=$(command -v python3)
  [ ! -x "$venv/bin/pip" ] || return 0
  section "virtual environment .venv of $python"
  "$python" -m venv --system-site-packages "$venv"
}

install_python() { # of one group, when its list changed
  local list=scripts/requirements/$1.txt mark=$venv/.installed-$1
  if [ ! -e "$list" ] || cmp -s "$list" "$mark"; then return 0; fi
  section "Python packages of $list"
  "$venv/bin/pip" install --quiet -r "$list"
  cp "$list" "$mark"
}

[ $# != 0 ] || die "usage: install.sh GROUP... (build, demo, test, lint)"
lock
packages=() with_optional=no
for group in "$@"; do
  case $group in
    build) packages+=("${build_packages[@]}") ;;
    demo) packages+=("${demo_packages[@]}") ;;
    test) packages+=("${test_packages[@]}"); with_optional=yes ;;
    lint) packages+=("${lint_packages[@]}") ;;
    *) die "no such group: $group" ;;
  esac
done
install_system "${packages[@]}"
make_venv
for group in "$@"; do install_python "$group"; done
