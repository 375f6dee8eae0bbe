#!/usr/bin/env bash
# Starts a grid on this machine, renders a picture on it, asks a language model that it hosts, and stops it again.
# ./dev demo calls it; by hand: CORPGRID_BIN=<folder with corpgrid, its runner and its worker> examples/demo.sh
set -euo pipefail

examples=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
picture=$PWD/.demo/render.png
model=$examples/../tools/demo-model/corpgrid-demo.gguf
corpgrid=${CORPGRID_BIN:-}/corpgrid
up=
run=
folder=

fail() {
  printf 'demo: %s\n' "$@" >&2
  exit 1
}

# Runs on every way out: the grid first, by its process id, then its folder.
clean_up() {
  trap '' INT TERM HUP
  if [ -n "$run" ]; then kill -TERM "$run" 2>/dev/null || true; fi
  if [ -n "$up" ] && kill -TERM "$up" 2>/dev/null; then
    for ((i = 0; i < 300; i++)); do
      kill -0 "$up" 2>/dev/null || break
      sleep 0.1
    done
    kill -KILL "$up" 2>/dev/null || true  # its children end with it
    wait "$up" 2>/dev/null || true
  fi
  if [ -n "$folder" ]; then rm -rf "$folder"; fi
}

# What is still missing to make the example, told before anything starts.
check_tools() {
  local program
  [ -n "${CORPGRID_BIN:-}" ] || fail "CORPGRID_BIN is not set; run ./dev demo, which builds and sets it"
  for program in corpgrid corpgrid-runner corpgrid-worker; do
    [ -x "$CORPGRID_BIN/$program" ] || fail "$CORPGRID_BIN/$program is missing: ./dev build makes it"
  done
  for program in make "${CXX:-g++}" python3; do
    command -v "$program" >/dev/null || fail "$program is missing: ./dev setup installs it"
  done
}

start_grid() {
  # Agents that start as root become unprivileged users, who must be able to enter the folder.
  folder=$(mktemp -d "${TMPDIR:-/var/tmp}/corpgrid-demo.XXXXXX")
  chmod 711 "$folder"
  "$corpgrid" up --data "$folder/grid" --listen 127.0.0.1:0 --api 127.0.0.1:0 >"$folder/up.log" 2>&1 &
  up=$!
  for ((i = 0; i < 600; i++)); do
    if grep -q "ready" "$folder/up.log"; then return; fi
    kill -0 "$up" 2>/dev/null || break
    sleep 0.1
  done
  cat "$folder/up.log" >&2
  fail "the grid did not start; what it said is above"
}

# Prints who computed what and how much of it was verified; fails when something was not.
tell() {
  python3 - "$1" <<'PYTHON'
import json
import sys

job = json.load(open(sys.argv[1]))
print(f"{'device':<10} {'owner':<10} {'results':>7} {'agreed':>7} {'wrong':>7} {'cpu time':>9}")
for device in job["devices"]:
    agreed, wrong = device["results_agreed"], device["results_disagreed"]
    print(f"{device['name']:<10} {device['owner']:<10} {agreed + wrong:>7} {agreed:>7} {wrong:>7} "
          f"{device['cpu_ms'] / 1000:>7.1f} s")
print(f"\nverified {job['verified']}/{job['shards']}")
sys.exit(job["verified"] != job["shards"])
PYTHON
}

# Runs one command beside this shell, which a signal can end at once.
await() {
  "$@" &
  run=$!
  wait "$run" || return
  run=
}

# Into the folder whose models the agents offer to the grid.
add_model() {
  await "$corpgrid" model add "$model" --data "$folder/grid" >"$folder/model.log" ||
    fail "the model could not be added; why is above"
}

# A device loads the model; what it is asked goes to that device, and the answer comes as it is computed.
chat() {
  local name question end=$((SECONDS + 60))
  name=$(basename "$model" .gguf)
  until await "$corpgrid" model load "$name" --data "$folder/grid" --context 512 --sequences 2 >"$folder/model.log" 2>&1; do
    [ $SECONDS -lt $end ] || { cat "$folder/model.log" >&2; fail "no device loaded the model; why is above"; }
    sleep 0.5  # an agent tells with its next heartbeat that it has the model
  done
  for question in "What is CorpGrid?" "What is a quorum?"; do
    printf '\n> %s\n' "$question"
    await "$corpgrid" chat "$name" "$question" --data "$folder/grid" --temperature 0 ||
      fail "the model did not answer; why is above"
  done
}

trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

check_tools
make -s -C "$examples/render" || fail "the example could not be compiled"
echo "starting a grid: one scheduler, three agents, each with an owner of its own"
start_grid
add_model
await "$corpgrid" job run "$examples/render/job.yaml" --data "$folder/grid" --out "$folder/results" \
  --json >"$folder/job.json" || fail "the job did not end well; what happened is above"
mkdir -p "$(dirname "$picture")"
"$examples/render/assemble" "$folder/results" "$picture"
printf '\npicture: %s\n\n' "$picture"
tell "$folder/job.json"
printf '\nthe grid hosts a small language model, too (corpgrid chat):\n'
chat
