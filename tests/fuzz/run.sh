#!/usr/bin/env bash
# Runs each fuzz target. Usage: bash tests/fuzz/run.sh BUILD RUNS_EACH [SECONDS_EACH]
# The seed is fixed; a crash leaves its input in BUILD/fuzz.
set -euo pipefail
build=$1 runs=$2 seconds=${3:-3600}
mkdir -p "$build/fuzz"
total=0
for target in "$build"/hanse_fuzz_*; do
  [[ -x $target && ! -d $target ]] || continue
  name=${target##*/hanse_fuzz_}
  mkdir -p "$build/fuzz/$name"
  if ! UBSAN_OPTIONS=print_stacktrace=1 "$target" -seed=1 -runs="$runs" -max_total_time="$seconds" \
    -max_len=4096 -print_final_stats=1 -artifact_prefix="$build/fuzz/" "$build/fuzz/$name" \
    >"$build/fuzz/$name.log" 2>&1; then
    tail -n 60 "$build/fuzz/$name.log"
    echo "$name failed"
    exit 1
  fi
  done_runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$build/fuzz/$name.log")
  echo "$name: $done_runs executions, 0 failures"
  total=$((total + done_runs))
done
# Hanley and Lippman-Hand 1983: with 0 of n, at most 3/n with 95 % confidence.
echo "$total executions in all (rule of three: below $(awk "BEGIN { print 3 / $total }") of inputs)"
