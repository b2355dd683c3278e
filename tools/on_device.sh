#!/usr/bin/env bash
# Measures speed and memory on the devices at hand, in calls that each end within
# ten minutes and leave JSON in a folder, also if they do not finish.
#
#   tools/on_device.sh list
#   tools/on_device.sh [--scale=gpu] CALL [FOLDER [FLAG ...]]
#   python -m tools.benchmark_tables FOLDER
#
# A call is a config, of which each phase is measured, or one of
#   dp         multi-task learning with a plain step and with a private one
#   sharded    all devices compute what one device of the CPU does
#   layers     our layers, XLA's, and torch's where torch is installed
#   precision  bfloat16 against float32; called again, it goes on with mechanisms
#              of which the folder has no file
# Flags are those of the program that is called: --phase=search, or --seconds=2.
# LIMIT is the seconds of a call, PYTHON the interpreter, without which .venv has
# it, and TORCH_PYTHON one with torch, if that is another.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
# By an absolute path, links of virtual environments as they are.
own=$root/.venv/bin/python
[[ -x $own ]] || own=python3
python=$(realpath -s "$(command -v "${PYTHON:-$own}")")
"$python" -c 'import jax, absl' 2>/dev/null || {
  echo "error: $python has not what jaxpriv needs; set PYTHON to one that has" >&2
  exit 1
}
limit=${LIMIT:-570}
scale=gpu
if [[ ${1:-} == --scale=* ]]; then
  scale=${1#--scale=}
  shift
fi
call=${1:-list}
out=$(realpath -m "${2:-runs/on_device}")
shift $(($# < 2 ? $# : 2))
cd "$root"

# What is left for a program, by the seconds since this shell started.
left() { echo $((limit > SECONDS + 1 ? limit - SECONDS : 1)); }
# The program is ended if it does not see to it itself.
run() { timeout --kill-after=10 "$(left)" "$@"; }
measure() { # NAME CONFIG SECONDS [FLAG ...]
  run "$python" -m launch.measure --config="$2:$scale" --json="$out/$1.json" \
    --limit="$(($3 > 0 ? $3 : 0))" "${@:4}"
}

configs=$("$python" -c 'from launch import config
print(*(name for name in config.names() if name != "baseline"))')
case $call in
  dp)
    measure dp_plain dp_multitask $(($(left) / 2 - 10)) "$@" || status=$?
    measure dp_private dp_multitask $(($(left) - 10)) --config.dp.epsilon=8 "$@"
    ;;
  sharded)
    # Tests take the CPU alone unless they are told of another platform.
    JAX_PLATFORMS=${JAX_PLATFORMS:-$("$python" -c 'import jax
name = jax.devices()[0].platform
print({"cpu": "", "gpu": "cuda,cpu"}.get(name, name + ",cpu"))')} \
      run "$python" -m pytest -q -n 0 -p tests.on_device tests/sharded_test.py \
      --json="$out/sharded.json" --limit=$(($(left) - 30)) "$@"
    ;;
  layers)
    run "$python" -m launch.benchmark layers --json="$out/layers.json" "$@" ||
      status=$?
    torch=$(realpath -s "$(command -v "${TORCH_PYTHON:-$python}")")
    if "$torch" -c 'import torch' 2>/dev/null; then
      run "$torch" -m tools.torch_layers "$out/layers_torch.json"
    else
      echo "torch is left out: $torch has none"
    fi
    ;;
  precision)
    for name in $configs; do
      file=$out/precision_$name.json
      if [[ -e $file ]]; then
        echo "$name is in $file"
      elif (($(left) < 20)); then
        echo "$name is left out: there was no time left"
      else
        run "$python" -m launch.benchmark precision --precision_of="$name" \
          --json="$file" "$@" || status=$?
      fi
    done
    ;;
  *)
    if [[ " $configs " != *" $call "* ]]; then
      [[ $call == list ]] || exec >&2
      [[ $call == list ]] || echo "error: there is no call $call, but:"
      printf '%s\n' $configs dp sharded layers precision
      [[ $call == list ]]
      exit
    fi
    measure "$call" "$call" $(($(left) - 10)) "$@"
    ;;
esac
exit "${status:-0}"
