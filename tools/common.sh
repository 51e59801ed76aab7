# shellcheck shell=bash
# Sourced by the scripts of this folder: working directory, toolchain, output, installation.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p target/logs target/site/pkg

# The choice of tools/setup-wasm, so that every later cargo call compiles with the same toolchain.
# shellcheck source=/dev/null
if [[ -f target/toolchain.env ]]; then source target/toolchain.env; fi

script=$(basename "$0")
step_number=0
steps=0 # a script with several steps sets this

duration() {
  local seconds=$1
  if ((seconds < 60)); then echo "$seconds s"; else echo "$((seconds / 60)) min $((seconds % 60)) s"; fi
}

# step "TEXT": announces a step; `done_step "OUTCOME"` ends it and prints its duration.
step() {
  step_number=$((step_number + 1))
  step_started=$SECONDS
  printf '==> %s [%d/%d] %s\n' "$script" "$step_number" "$steps" "$*"
}
# shellcheck disable=SC2120
done_step() {
  printf '    %s (%s)\n' "${1:-done}" "$(duration $((SECONDS - step_started)))"
}
note() { printf '    %s\n' "$*"; }
fail() {
  printf '\n%s: %s\n' "$script" "$*" >&2
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# as_root COMMAND…: runs it as root, through sudo if needed; fails without sudo.
as_root() {
  if ((EUID == 0)); then
    "$@"
  elif have sudo; then
    sudo "$@"
  else
    return 1
  fi
}
can_install() { have apt-get && { ((EUID == 0)) || have sudo; }; }

# debian_install PACKAGE…: installs packages; updates the package lists only if that fails.
debian_install() {
  can_install || return 1
  note "installing from Debian: $* (log: target/logs/apt.log)"
  local install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@")
  if ! as_root "${install[@]}" </dev/null >target/logs/apt.log 2>&1; then
    as_root apt-get update </dev/null >>target/logs/apt.log 2>&1 || true
    as_root "${install[@]}" </dev/null >>target/logs/apt.log 2>&1 || {
      tail -n 5 target/logs/apt.log >&2
      return 1
    }
  fi
}

# need COMMAND PACKAGE…: installs a missing command from Debian.
need() {
  local command=$1
  shift
  have "$command" && return
  debian_install "$@" && have "$command" && return
  fail "the command '$command' is missing (on Debian and Ubuntu: apt-get install $*)"
}

# node_at_least N: checks the version of Node.js, with a clearer error than the npm tools give.
node_at_least() {
  need node nodejs npm
  need npm npm
  local version
  version=$(node --version)
  version=${version#v}
  ((${version%%.*} >= $1)) || fail "Node.js $1 or newer is needed, this is $version"
}

# npm_packages FOLDER: installs the packages of the lock file. The hash of the lock file is stored inside node_modules,
# so that both are deleted together.
npm_packages() {
  local lock stamp=$1/node_modules/.latchkey-lock
  lock=$(cksum <"$1/package-lock.json")
  if [[ -f $stamp && $(<"$stamp") == "$lock" ]]; then
    note "npm packages of $1/ are installed"
    return
  fi
  note "installing npm packages of $1/"
  (cd "$1" && PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 npm ci --no-progress --loglevel=error </dev/null) ||
    fail "npm could not install the packages of $1/"
  echo "$lock" >"$stamp"
}

# python_packages NAME LIST: installs the packages of the requirements file LIST in target/NAME.
python_packages() {
  local list stamp=target/$1/.latchkey-requirements
  list=$(cksum <"$2")
  if [[ -f $stamp && $(<"$stamp") == "$list" ]]; then
    note "$1 is installed"
    return
  fi
  need python3 python3
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    fail "Python 3.10 or newer is needed, this is $(python3 --version)"
  # Debian has a part of venv in a separate package.
  python3 -c 'import ensurepip, venv' 2>/dev/null || debian_install python3-venv ||
    fail "Python's venv is missing (on Debian and Ubuntu: apt-get install python3-venv)"
  note "installing $1 from PyPI (log: target/logs/pip.log)"
  rm -rf "target/$1"
  python3 -m venv "target/$1"
  "target/$1/bin/pip" install --disable-pip-version-check --requirement "$2" \
    </dev/null >target/logs/pip.log 2>&1 || fail "pip could not install $1 (target/logs/pip.log)"
  echo "$list" >"$stamp"
}
