#!/usr/bin/env bash
# From nothing to a measured release, on procedural faces: trains the embedded
# autoencoder at demo scale, attacks it, and releases a small protected folder.
# Run again, it goes on where it stopped.
set -euo pipefail
cd "$(dirname "$0")/.."

run=${1:-runs/demo}
python=${PYTHON:-python3}

"$python" -m launch.train \
  --config=configs/embedded_autoencoder.py:demo --workdir="$run" \
  --config.data.splits.train=0.75 --config.data.splits.attack=0.1667 \
  --config.data.splits.test=0.0833
"$python" -m launch.evaluate --workdir="$run"
"$python" -m tools.make_faces --output="$run/input"
# A finished release is not written over.
if [[ ! -e "$run/release" ]]; then
  "$python" -m launch.release \
    --workdir="$run" --input="$run/input" --output="$run/release"
fi

echo
echo "Report:  $run/evaluation/report.html"
echo "Release: $run/release"
