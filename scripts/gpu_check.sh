#!/usr/bin/env bash
# What is measured on a GPU, into one folder, in at most ten minutes: parity of the engines, the bench, a short training.
# Usage: scripts/gpu_check.sh FOLDER [--tiny]    (--tiny: for trying it on a CPU)
# Needs python3 with PyTorch, NumPy, OpenCV, tqdm and pytest; neither ROS nor a build of the package.
# Each step has a limit, after which it is ended; what it wrote until then stays. summary.txt says how each ended.
set -uo pipefail
folder=${1:?usage: scripts/gpu_check.sh FOLDER [--tiny]}
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
budget=(--minutes 2) workers=$(nproc) evaluated=2048 scenes=100 device=cuda tiny=() repeats=100 patience=1
if [ "${2:-}" = --tiny ]; then
  budget=(--samples 16 --batch 8) workers=0 evaluated=0 scenes=1 device=cpu tiny=(--tiny) repeats=1 patience=4
fi
total=$((560 * patience)) # seconds, of all steps together
mkdir -p "$folder" && folder="$(cd "$folder" && pwd)" || exit 1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# A copy of the sources serves as the package, so that none needs to be installed.
cp -r "$root/awr_ros" "$work" || exit 1
export PYTHONPATH="$work" PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1
failed=0

step() { # name, most seconds, command: its output goes to FOLDER/name.txt
  local name=$1 seconds=$(($2 * patience)) began=$SECONDS left=$((total - SECONDS))
  shift 2
  if [ "$left" -le 0 ]; then
    echo "$name: left out, the time is up" | tee -a "$folder/summary.txt"
    failed=1
    return
  fi
  [ "$seconds" -le "$left" ] || seconds=$left
  timeout --kill-after=5 "$seconds" "$@" > "$folder/$name.txt" 2>&1
  local status=$?
  echo "$name: status $status after $((SECONDS - began)) of $seconds s" | tee -a "$folder/summary.txt"
  [ $status = 0 ] || failed=1
}

: > "$folder/summary.txt"
step machine 30 python3 -c '
import os, platform, subprocess
import cv2, numpy, torch
print("Python", platform.python_version(), "torch", torch.__version__, "numpy", numpy.__version__, "cv2", cv2.__version__)
print(os.cpu_count(), "CPU cores; GPU:", torch.cuda.is_available() and torch.cuda.get_device_name())
if torch.cuda.is_available():
    subprocess.run(["nvidia-smi"], check=False)
'
step parity 80 python3 -m pytest -q -p no:cacheprovider "$root/test/test_runtime.py" "$root/test/test_fused_network.py" \
  -k "cuda or Cuda or CUDA or folded"
step bench 200 python3 -m awr_ros bench --only gpu "${tiny[@]}" --repeats "$repeats" --output "$folder/bench.md"
step weights 230 python3 -m awr_ros make-weights "$work/weights" "${budget[@]}" --negatives 0 \
  --validate-every 50000 --validation $((evaluated / 2 / 128 * 128)) --scenes "$scenes" --refiner-share 0.01 --handedness-share 0.01 \
  --evaluated-crops "$evaluated" --evaluated-scenes 0 --evaluated-sequences 0 --evaluated-seconds 0 \
  --workers "$workers" --device "$device"
# Of a run that was ended as well: the newest weights, the rates and errors of the network, the times of the stages.
for made in weights.pt with_handedness.pt refined.pt network/weights.pt; do
  if [ -f "$work/weights/$made" ]; then
    cp "$work/weights/$made" "$folder/weights.pt"
    echo "weights.pt is $made" | tee -a "$folder/summary.txt"
    break
  fi
done
for written in progress.json measured/log.csv network/log.csv; do
  [ -f "$work/weights/$written" ] && printf '\n%s\n' "$written" | cat - "$work/weights/$written" >> "$folder/weights.txt"
done
[ -f "$work/weights/model-card.md" ] && cp "$work/weights/model-card.md" "$folder"
exit $failed
