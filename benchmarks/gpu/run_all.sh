#!/usr/bin/env bash
# Checks and times everything on a machine with a GPU, within eight minutes; again: goes on.
#
#   benchmarks/gpu/run_all.sh [PREPARED] [RESULTS]
#
# PREPARED (default build/gpu/carry) was made by `python -m benchmarks.gpu.prepare` on a machine with
# the compiler. RESULTS (default PREPARED/results) gets results.json, report.md and run.log; a
# results.json of an earlier call in PREPARED or RESULTS is continued. LIMIT is in seconds, the
# installation of the packages counted.
set -u
cd "$(dirname "$0")/../.."
prepared=${1:-build/gpu/carry}
results=${2:-$prepared/results}
limit=${LIMIT:-480}
python=${PYTHON:-python3}
mkdir -p "$results"

site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
if compgen -G "$prepared/wheels/*.whl" > /dev/null; then
  "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$site" "$prepared"/wheels/*.whl
fi
export PYTHONPATH="$PWD:$site${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

"$python" -m benchmarks.gpu.run "$prepared" "$results" --seconds $((limit - SECONDS)) > >(tee -a "$results/run.log") 2>&1 &
child=$!
trap 'kill -TERM "$child" 2> /dev/null' TERM INT
wait "$child"
status=$?
while kill -0 "$child" 2> /dev/null; do wait "$child"; status=$?; done # a signal ends a wait too early
[ ! -e "$results/report.md" ] || cat "$results/report.md"
exit "$status"
