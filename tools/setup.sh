#!/usr/bin/env bash
# Installs what a ./dev command needs, and nothing that is there already.
# usage: tools/setup.sh build|test|lint|fuzz|all
# shellcheck disable=SC2016  # the $(…) and ${…} below are apt's and dpkg's, not the shell's
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

build=(
  bubblewrap ccache cmake g++ git lld make ninja-build pkgconf python3
  libabsl-dev libarchive-dev libcli11-dev libfmt-dev libgrpc++-dev libpq-dev libprotobuf-dev
  libseccomp-dev libsodium-dev libspdlog-dev libsqlite3-dev libyaml-cpp-dev nlohmann-json3-dev
  protobuf-compiler protobuf-compiler-grpc zlib1g-dev
)
# clang-format 19 is in every Debian from 12 on: one version, so that all machines agree.
test=("${build[@]}" clang-format-19 libbenchmark-dev libgmock-dev libgtest-dev postgresql)
fuzz=("${build[@]}" clang libclang-rt-dev)
lint=("${test[@]}" clang clang-tidy shellcheck)
blake3=.deps/blake3
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

# libblake3 is younger than Debian 12 and 13. Its two packages need nothing newer than what these
# have, so they are unpacked into .deps/ from the release that has them; the system's own package
# sources stay as they are (docs/decisions/0001-private-blake3.md).
fetch_blake3() {
  local suite=forky keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  local mirror folder library signed_by="" package
  mkdir -p .deps
  folder=$(mktemp -d "$PWD/.deps/fetch.XXXXXX")
  # shellcheck disable=SC2064  # the folder of now is meant
  trap "rm -rf '$folder'" EXIT
  export TMPDIR=$folder  # apt's own temporary files, too
  mirror=$(own_mirror)
  [ -n "$mirror" ] ||
    fail "no package source of this system's own release found; libblake3-dev must be installed by hand"
  mkdir -p "$folder"/{lists,cache/archives}/partial "$folder/debs" "$folder/root"
  if [ -e "$keyring" ]; then signed_by="[signed-by=$keyring] "; fi
  echo "deb $signed_by$mirror $suite main" >"$folder/sources.list"
  local private=(-qq -o Dir::Etc::SourceList="$folder/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null
    -o Dir::State::Lists="$folder/lists" -o Dir::Cache="$folder/cache" -o APT::Sandbox::User=root
    -o APT::Default-Release= -o Acquire::Languages=none)
  echo "setup: fetching libblake3 from $suite into $blake3"
  apt-get "${private[@]}" update || fail "the package lists of $suite could not be read"
  library=$(apt-cache "${private[@]}" depends libblake3-dev |
    awk '$1 == "Depends:" && /libblake3/ {print $2}')
  (cd "$folder/debs" && apt-get "${private[@]}" download libblake3-dev "$library") ||
    fail "libblake3 could not be downloaded"
  for package in "$folder"/debs/*.deb; do
    dpkg-deb -x "$package" "$folder/root"
    dpkg-deb -W --showformat='${Package} ${Version}\n' "$package" >>"$folder/root/VERSIONS"
  done
  rm -rf "$blake3"
  mv "$folder/root" "$blake3"
}

have_blake3() {
  [ -e /usr/include/blake3.h ] || [ -e "$blake3/usr/include/blake3.h" ]
}

case "${1:-}" in
  build | test | lint | fuzz) declare -n chosen=$1 ;;
  all) chosen=("${lint[@]}" "${fuzz[@]}") ;;
  *) fail "usage: tools/setup.sh build|test|lint|fuzz|all" ;;
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
