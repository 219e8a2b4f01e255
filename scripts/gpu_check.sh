#!/usr/bin/env bash
# What is measured on a GPU, into one folder, in at most ten minutes: parity of the engines, the bench, a short training.
# Usage, in a shell with the package: scripts/gpu_check.sh FOLDER [--tiny]    (--tiny: for trying it on a CPU)
# Each step has a time of its own, after which it is ended; summary.txt says how each ended.
set -uo pipefail
folder=${1:?usage: scripts/gpu_check.sh FOLDER [--tiny]}
tests="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/test"
samples=1000000 workers=$(nproc) evaluated=2048 scenes=100 device=cuda tiny= patience=1
if [ "${2:-}" = --tiny ]; then samples=16 workers=0 evaluated=0 scenes=1 device=cpu tiny=--tiny patience=4; fi
mkdir -p "$folder"
failed=0

step() {  # name, most seconds, command: its output goes to FOLDER/name.txt
  local name=$1 seconds=$(($2 * patience)) began=$SECONDS
  shift 2
  timeout --kill-after=10 "$seconds" "$@" > "$folder/$name.txt" 2>&1
  local status=$?
  echo "$name: status $status after $((SECONDS - began)) of $seconds s" | tee -a "$folder/summary.txt"
  [ $status = 0 ] || failed=1
}

: > "$folder/summary.txt"
step machine 30 python -c 'import torch; print(torch.__version__, torch.cuda.is_available() and torch.cuda.get_device_name())'
step parity 90 pytest -q "$tests/test_runtime.py" "$tests/test_fused_network.py" -k "cuda or Cuda or CUDA or folded"
step bench 220 python -m awr_ros bench --only gpu $tiny --repeats "${repeats:-$([ -n "$tiny" ] && echo 1 || echo 100)}" \
  --output "$folder/bench.md"
step weights 240 python -m awr_ros make-weights "$folder/weights" --samples "$samples" --batch $((samples < 256 ? 8 : 256)) \
  --negatives 0 --validation $((evaluated / 2 / 128 * 128)) --scenes "$scenes" --refiner-share 0.01 --handedness-share 0.01 \
  --evaluated-crops "$evaluated" --evaluated-scenes 0 --evaluated-sequences 0 --evaluated-seconds 0 --workers "$workers" --device "$device"
exit $failed
