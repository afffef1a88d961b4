#!/usr/bin/env bash
# Checks and times everything on a machine with a GPU, within eight minutes.
#
#   benchmarks/gpu/run_all.sh [PREPARED] [RESULTS]
#
# PREPARED (default build/gpu) was made by `python -m benchmarks.gpu.prepare` on a machine with the
# compiler; RESULTS (default PREPARED/results) gets a JSON file for each part and report.md.
# A part whose JSON is there is not run again: remove the file to repeat it. LIMIT is in seconds.
set -u
cd "$(dirname "$0")/../.."
prepared=${1:-build/gpu}
results=${2:-$prepared/results}
limit=${LIMIT:-480}
python=${PYTHON:-python3}
mkdir -p "$results"

site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
if compgen -G "$prepared/wheels/*.whl" > /dev/null; then
  "$python" -m pip install -q --no-index --no-deps --no-compile --target "$site" "$prepared"/wheels/*.whl
fi
export PYTHONPATH="$PWD:$site${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1

failed=0
# part NAME SECONDS COMMAND...: the command writes $results/NAME.json
part() {
  local name=$1 seconds=$2 left=$((limit - SECONDS))
  shift 2
  if [ -e "$results/$name.json" ]; then echo "== $name: done before"; return; fi
  if [ "$left" -lt 10 ]; then echo "== $name: left out, $SECONDS s of $limit s are spent"; failed=1; return; fi
  [ "$seconds" -lt "$left" ] || seconds=$left
  echo "== $name (at $SECONDS s, for at most $seconds s)"
  if ! timeout "$seconds" "$@" > "$results/$name.log" 2>&1; then
    failed=1
    echo "   failed; the end of $results/$name.log:"
    tail -n 15 "$results/$name.log"
  fi
}

part environment 30 "$python" -m benchmarks.gpu.environment --output "$results/environment.json"
part golden 90 "$python" -m benchmarks.gpu.golden "$prepared" --output "$results/golden.json"
part kernel-checks 120 "$python" -m benchmarks.gpu.kernel_checks --output "$results/kernel-checks.json"
part peers 60 "$python" -m benchmarks.gpu.peers --output "$results/peers.json"
part model-int4 130 "$python" -m benchmarks.gpu.model "$prepared/released-int4.sala" --memory 16GiB --chunk 2048 \
  --output "$results/model-int4.json"
part model-bf16 130 "$python" -m benchmarks.gpu.model "$prepared/released-bf16.sala" \
  --output "$results/model-bf16.json"
part dense 90 "$python" -m benchmarks.gpu.dense --output "$results/dense.json"
"$python" -m benchmarks.gpu.report "$results" | tee "$results/report.md"
exit $failed
