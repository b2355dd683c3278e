"""Times layers of `launch.benchmark layers` in torch, with their gradients.

  python -m tools.torch_layers layers_torch.json

On a card, products of float32 are of TensorFloat-32, as XLA's are.
"""

import json
import pathlib
import sys
import time

import torch
from torch.nn import functional

# As there.
BATCH, ROUNDS = 64, 10


def cases(device):
  """name -> (layer, its arguments), in torch's order of axes."""
  some = lambda *shape: torch.randn(shape, device=device, requires_grad=True)
  return {
    "max_pool 2/2, 64x64x16": (
      lambda x: functional.max_pool2d(x, 2, 2),
      [some(BATCH, 16, 64, 64)],
    ),
    "transposed_conv 16x16x32 -> 32x32x16": (
      lambda x, k: functional.conv_transpose2d(x, k, stride=2, padding=1),
      [some(BATCH, 32, 16, 16), some(32, 16, 4, 4)],
    ),
    "conv 2x2x128 -> 2x2x128": (
      lambda x, k: functional.conv2d(x, k, padding=1),
      [some(BATCH, 128, 2, 2), some(128, 128, 3, 3)],
    ),
  }


def best(layer, arguments, device):
  """Seconds of the fastest round."""
  wait = torch.cuda.synchronize if device == "cuda" else lambda: None
  fastest = float("inf")
  for turn in range(ROUNDS + 1):
    wait()
    start = time.perf_counter()
    torch.autograd.grad(layer(*arguments).square().sum(), arguments)
    wait()
    if turn:  # the first chooses kernels
      fastest = min(fastest, time.perf_counter() - start)
  return fastest


def main():
  path = pathlib.Path(sys.argv[1])
  device = "cuda" if torch.cuda.is_available() else "cpu"
  torch.backends.cuda.matmul.allow_tf32 = True
  torch.backends.cudnn.allow_tf32 = True
  torch.backends.cudnn.benchmark = True
  rows = [
    {
      "layer": name,
      "torch_ms": round(1e3 * best(layer, arguments, device), 2),
    }
    for name, (layer, arguments) in cases(device).items()
  ]
  content = {
    "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
    "devices": 1,
    "torch": torch.__version__,
    "suites": {"layers in torch": rows},
  }
  partial = path.with_name(path.name + ".partial")
  partial.write_text(json.dumps(content, indent=2) + "\n")
  partial.replace(path)


if __name__ == "__main__":
  main()
