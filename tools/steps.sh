# shellcheck shell=bash
# Steps with a heading and a duration, counted checks and their summary; sourced by ./dev.

passed=0
failed=0

die() {
  printf './dev: %s\n' "$@" >&2
  exit 2
}

# step TITLE COMMAND…: a heading, the command, how long it took; the command's status.
step() {
  local title=$1 start=$SECONDS status=0
  shift
  printf '\n=== %s\n' "$title"
  "$@" || status=$?
  printf -- '--- %s: %s after %d s\n' "$title" "$([ $status = 0 ] && echo ok || echo FAILED)" \
    $((SECONDS - start))
  return $status
}

# A step that counts as one test.
check() {
  if step "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}

# Steps without which nothing can follow; they count only when they fail.
setup_step() {
  step "set-up" tools/setup.sh "$1" || { failed=1; finish; }
}

# build_step PRESET TARGET…
build_step() {
  step "build $1" build "$@" || { failed=$((failed + 1)); finish; }
}

# run_tests PRESET [CTEST OPTION…]: adds what ctest ran. What was skipped did not pass.
run_tests() {
  local preset=$1 report=$PWD/build/$1/tests.xml ran_well all
  shift
  rm -f "$report"
  step "tests $preset" ctest --test-dir "build/$preset" --output-on-failure --no-tests=error \
    --parallel "$(nproc)" --output-junit "$report" "$@" || true
  ran_well=$(grep -c '<testcase .*status="run"' "$report" || true)
  all=$(grep -c '<testcase ' "$report" || true)
  passed=$((passed + ran_well))
  failed=$((failed + all - ran_well))
  [ "$all" -gt 0 ] || failed=$((failed + 1))
}

# The last line, and the exit.
finish() {
  printf '\n%d passed, %d failed\n' $passed $failed
  if [ $failed = 0 ] && [ $passed -gt 0 ]; then exit 0; fi
  exit 1
}

# nearest WORD CANDIDATE…: "; did you mean 'X'?" for the candidate within two edits, or nothing.
nearest() {
  local word=$1 best="" least=3 candidate distance
  shift
  for candidate in "$@"; do
    distance=$(edit_distance "$word" "$candidate")
    if ((distance < least)); then least=$distance best=$candidate; fi
  done
  [ -z "$best" ] || printf "; did you mean '%s'?" "$best"
}

edit_distance() {
  local a=$1 b=$2 i j above diagonal
  local -a row
  for ((j = 0; j <= ${#b}; j++)); do row[j]=$j; done
  for ((i = 1; i <= ${#a}; i++)); do
    diagonal=$((i - 1)) row[0]=$i
    for ((j = 1; j <= ${#b}; j++)); do
      above=${row[j]}
      if [ "${a:i-1:1}" != "${b:j-1:1}" ]; then diagonal=$((diagonal + 1)); fi
      row[j]=$((above + 1 < row[j - 1] + 1 ? above + 1 : row[j - 1] + 1))
      if ((diagonal < row[j])); then row[j]=$diagonal; fi
      diagonal=$above
    done
  done
  echo "${row[${#b}]}"
}
