#!/usr/bin/env bash
# Installs what a ./dev command needs, and nothing that is there already.
# usage: tools/setup.sh build|demo|test|lint|fuzz|all|convert
# shellcheck disable=SC2016  # the $(…) and ${…} below are apt's and dpkg's, not the shell's
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

build=(
  bubblewrap ccache cmake g++ git lld make ninja-build pkgconf python3
  libabsl-dev libarchive-dev libcli11-dev libcurl4-openssl-dev libedit-dev libfmt-dev libgrpc++-dev
  libpq-dev libprotobuf-dev libseccomp-dev libsodium-dev libspdlog-dev libsqlite3-dev libssl-dev
  libyaml-cpp-dev nlohmann-json3-dev prometheus-cpp-dev
  protobuf-compiler protobuf-compiler-grpc zlib1g-dev
)
# Asio's coroutines are complete from Boost 1.81 on, which Debian 12 has beside its usual 1.74.
if grep -q '^VERSION_CODENAME=bookworm$' /etc/os-release; then
  build+=(libboost1.81-dev)
else
  build+=(libboost-dev)
fi
# clang-format 19 is in every Debian from 12 on: one version, so that all machines agree.
# Mesa's drivers have a GPU that processors play.
test=("${build[@]}" clang-format-19 iproute2 libbenchmark-dev libgmock-dev libgtest-dev
  mesa-vulkan-drivers postgresql)
fuzz=("${build[@]}" clang libclang-rt-dev)
lint=("${test[@]}" clang clang-tidy shellcheck)
suite=forky  # where what this release does not have comes from
blake3=.deps/blake3
# What corpgrid-worker hosts models with, and what its tests and benchmarks compare it to.
inference_packages=(libllama-dev libggml-dev libggml0-backend-vulkan libminja-dev
  llama.cpp-tools llama.cpp-tools-extra llama.cpp-tests)
inference=.deps/inference
# What makes GGUF files of safetensors, in Python; large, and only for those who need it.
convert_packages=(python3-torch python3-transformers python3-gguf python3-sentencepiece
  llama.cpp-tools)
convert=.deps/convert
node=.deps/node  # the official OpenAI client, which the API's conformance tests use
apt_options=(-qq -o DPkg::Lock::Timeout=300)

fail() {
  printf 'setup: %s\n' "$@" >&2
  exit 1
}

# The given packages that are not installed, one a line.
missing_of() {
  comm -23 <(printf '%s\n' "$@" | sort -u) <(
    dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null |
      awk '$1 == "installed" {print $2}' | sort -u)
}

# Runs a command as root.
privileged() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

install_packages() {
  echo "setup: installing $*"
  privileged env DEBIAN_FRONTEND=noninteractive \
    apt-get "${apt_options[@]}" install -y --no-install-recommends "$@" >.setup.log 2>&1 ||
    { tail -20 .setup.log; fail "apt-get install failed; all it said is in .setup.log"; }
  rm -f .setup.log
}

# The tests start servers of their own: PostgreSQL's package is not to start one as well.
install_postgresql() {
  local settings=/etc/postgresql-common/createcluster.conf
  install_packages postgresql-common
  privileged sed -i 's/^#\?\(create_main_cluster\) .*/\1 = false/' "$settings"
  install_packages "$@"
}

# Whether packages may be installed; says what to do where not.
need_privilege() {
  [ "$(id -u)" = 0 ] && return
  command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; } && return
  fail "packages are missing, and there is neither root nor a usable sudo here." \
    "Let an administrator run: apt-get install --no-install-recommends $*"
}

# Where the system's own release comes from; nothing where apt cannot say.
own_mirror() {
  apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
    awk -v own="$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)" \
      '$1 == own || $1 == "stable" {print $2; exit}' || true
}

# Some libraries are younger than Debian 12 and 13. They are unpacked into a folder of .deps/ from the
# release that has them; the system's own package sources stay as they are
# (docs/decisions/0001-private-blake3.md, 0020-private-inference.md).

# Makes an apt configuration of its own in a new folder $fetch, which goes with this script, and
# `private`, the options that choose it.
open_newer_release() {
  local keyring=/usr/share/keyrings/debian-archive-keyring.gpg mirror signed_by=""
  if [ -n "${fetch:-}" ]; then return; fi
  mkdir -p .deps
  fetch=$(mktemp -d "$PWD/.deps/fetch.XXXXXX")
  # shellcheck disable=SC2064  # the folder of now is meant
  trap "rm -rf '$fetch'" EXIT
  export TMPDIR=$fetch  # apt's own temporary files, too
  mirror=$(own_mirror)
  [ -n "$mirror" ] ||
    fail "no package source of this system's own release found, so none of $suite; by hand: $*"
  mkdir -p "$fetch"/{lists,cache/archives}/partial "$fetch/debs"
  if [ -e "$keyring" ]; then signed_by="[signed-by=$keyring] "; fi
  echo "deb $signed_by$mirror $suite main" >"$fetch/sources.list"
  private=(-qq -o Dir::Etc::SourceList="$fetch/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null
    -o Dir::State::Lists="$fetch/lists" -o Dir::Cache="$fetch/cache" -o APT::Sandbox::User=root
    -o APT::Default-Release= -o Acquire::Languages=none)
  apt-get "${private[@]}" update || fail "the package lists of $suite could not be read"
}

# The packages of the newer release that the given ones directly need and whose names match.
needed_by() {
  local pattern=$1
  shift
  apt-cache "${private[@]}" depends "$@" |
    awk -v pattern="$pattern" '$1 == "Depends:" && $2 ~ pattern {print $2}' | sort -u
}

# fetch_private FOLDER PACKAGE…: unpacks packages of the newer release; FOLDER/VERSIONS lists them.
fetch_private() {
  local folder=$1 root=$fetch/root package
  shift
  echo "setup: fetching from $suite into $folder: $*"
  rm -rf "$root" "$fetch"/debs/*
  mkdir -p "$root"
  (cd "$fetch/debs" && apt-get "${private[@]}" download "$@") ||
    fail "these could not be downloaded from $suite: $*"
  for package in "$fetch"/debs/*.deb; do
    dpkg-deb -x "$package" "$root"
    dpkg-deb -W --showformat='${Package} ${Version}\n' "$package" >>"$root/VERSIONS"
  done
  rm -rf "$folder"
  mv "$root" "$folder"
}

fetch_blake3() {
  open_newer_release libblake3-dev
  fetch_private "$blake3" libblake3-dev "$(needed_by '^libblake3' libblake3-dev)"
}

# Their packages need a newer C library: everything down to that, and its loader, comes along.
fetch_inference() {
  local packages=("${inference_packages[@]}") more count=0
  open_newer_release "${packages[@]}"
  while [ "$count" != "${#packages[@]}" ]; do
    count=${#packages[@]}
    more=$(needed_by '^(lib|zlib1g$)' "${packages[@]}")
    mapfile -t packages < <(printf '%s\n' "${packages[@]}" "$more" | grep . | sort -u)
  done
  fetch_private "$inference" "${packages[@]}"
}

# The converter with all that it needs down to the C library: what apt would install on an empty
# system of the newer release, started by that folder's own loader and Python.
fetch_converter() {
  local wanted
  open_newer_release "${convert_packages[@]}"
  touch "$fetch/status"
  wanted=$(apt-get "${private[@]}" -o Dir::State::status="$fetch/status" install --print-uris -y \
    --no-install-recommends "${convert_packages[@]}" |
    sed -n "s/^'[^']*' \([^_]*\)_.*/\1/p" | sort -u) ||
    fail "apt finds no way to have ${convert_packages[*]}"
  mapfile -t wanted <<<"$wanted"
  fetch_private "$convert" "${wanted[@]}"
  write_launchers
}

# What starts that folder's Python with that folder's libraries, and the converter with it.
write_launchers() {
  cat >"$convert/run-python" <<'END'
#!/bin/sh
# Written by tools/setup.sh. Runs Python, with PyTorch, with the libraries of this folder.
folder=$(dirname "$(readlink -f "$0")")
set -- "$folder"/usr/lib/*-linux-*/ld-linux*.so.* "$@"
loader=$1
shift
libraries=$(find "$folder/usr/lib" -name '*.so.*' ! -path '*/python3*' -printf '%h\n' | sort -u | tr '\n' ':')
private=$folder/usr/share/llama.cpp/llama.cpp-tools
python=$(find "$folder/usr/bin" -name 'python3.*[0-9]' | head -n 1)
export PYTHONHOME="$folder/usr" PYTHONPATH="$private:$folder/usr/lib/python3/dist-packages"
exec "$loader" --library-path "$libraries" "$python" "$@"
END
  cat >"$convert/convert-model" <<'END'
#!/bin/sh
# Written by tools/setup.sh. Runs llama.cpp's converter with the libraries of this folder.
folder=$(dirname "$(readlink -f "$0")")
exec "$folder/run-python" "$folder/usr/share/doc/llama.cpp-tools/scripts/convert_hf_to_gguf.py" "$@"
END
  chmod +x "$convert/run-python" "$convert/convert-model"
}

set_up_converter() {
  if [ -e "$convert/run-python" ]; then return; fi
  if [ -e "$convert/convert-model" ]; then write_launchers; return; fi  # fetched by an older script
  if apt-cache show python3-transformers llama.cpp-tools >/dev/null 2>&1; then
    mapfile -t missing < <(missing_of "${convert_packages[@]}")
    if [ "${#missing[@]}" = 0 ]; then return; fi
    need_privilege "${missing[@]}"
    install_packages "${missing[@]}"
  else
    fetch_converter
  fi
}

have_inference() {
  [ -e /usr/include/llama.h ] || [ -e "$inference/usr/include/llama.h" ]
}

have_blake3() {
  [ -e /usr/include/blake3.h ] || [ -e "$blake3/usr/include/blake3.h" ]
}

have_openai_client() {
  cmp -s tests/openai_conformance/package-lock.json "$node/package-lock.json" &&
    [ -e "$node/node_modules/openai" ]
}

fetch_openai_client() {
  echo "setup: fetching the openai client into $node"
  mkdir -p "$node"
  cp tests/openai_conformance/package.json tests/openai_conformance/package-lock.json "$node/"
  npm ci --prefix "$node" --ignore-scripts --no-audit --no-fund >.setup.log 2>&1 || {
    rm -f "$node/package-lock.json"
    tail -20 .setup.log
    fail "npm could not fetch the openai client; what it said is in .setup.log." \
      "Behind a proxy with a certificate of its own, let NODE_EXTRA_CA_CERTS name that."
  }
  rm -f .setup.log
}

# Node.js may be there from elsewhere than Debian, whose npm would not go with it.
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
  test+=(nodejs npm) lint+=(nodejs npm)
fi
hosts_models=yes tests_api=yes
case "${1:-}" in
  build | fuzz) declare -n chosen=$1 && hosts_models=no tests_api=no ;;  # neither makes corpgrid-worker
  demo) declare -n chosen=build && tests_api=no ;;
  test | lint) declare -n chosen=$1 ;;
  all) chosen=("${lint[@]}" "${fuzz[@]}") ;;
  convert) set_up_converter; exit ;;
  *) fail "usage: tools/setup.sh build|demo|test|lint|fuzz|all|convert" ;;
esac

command -v apt-get >/dev/null ||
  fail "this is no Debian; install the equivalents of: ${chosen[*]} libblake3-dev"
mapfile -t missing < <(missing_of "${chosen[@]}")
if [ "${#missing[@]}" -gt 0 ]; then
  need_privilege "${missing[@]}"
  privileged apt-get "${apt_options[@]}" update ||
    fail "the package lists could not be read; is the network there?"
  if [[ " ${missing[*]} " = *" postgresql "* ]] && [ ! -e /usr/share/postgresql-common ]; then
    install_postgresql "${missing[@]}"
  else
    install_packages "${missing[@]}"
  fi
fi
if ! have_blake3; then
  if apt-cache show libblake3-dev >/dev/null 2>&1; then
    need_privilege libblake3-dev
    install_packages libblake3-dev
  else
    fetch_blake3
  fi
fi
if [ $hosts_models = yes ] && ! have_inference; then
  if apt-cache show libllama-dev >/dev/null 2>&1; then
    need_privilege "${inference_packages[@]}"
    install_packages "${inference_packages[@]}"
  else
    fetch_inference
  fi
fi
if [ $tests_api = yes ] && ! have_openai_client; then
  fetch_openai_client
fi
