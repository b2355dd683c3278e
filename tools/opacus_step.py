"""Times a private step of Opacus on the network of `launch.benchmark dp`.

That program runs it with the Python of a separate environment:

  python -m venv torch && torch/bin/pip install torch opacus
  python -m launch.benchmark dp --torch_python=torch/bin/python
"""

import json
import sys
import time
import warnings

import torch
from opacus import GradSampleModule
from opacus.grad_sample import GradSampleModuleFastGradientClipping
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping
from torch import nn

WIDTHS = (32, 64, 128, 128, 128)


def network():
  layers, before = [], 3
  for i, width in enumerate(WIDTHS):
    layers += [
      nn.Conv2d(before, width, 3, 2 if i else 1, 1),
      nn.GroupNorm(8, width),
      nn.ReLU(),
    ]
    before = width
  layers += [nn.Flatten(), nn.Linear(2048, 256), nn.ReLU(), nn.Linear(256, 70)]
  return nn.Sequential(*layers)


def plain(x, y):
  model = network()

  def step():
    model.zero_grad()
    nn.functional.mse_loss(model(x), y).backward()

  return step


def sampled(mode, at_once=None):
  def make(x, y):
    model = GradSampleModule(network(), **mode)
    inner = torch.optim.SGD(model.parameters(), lr=0.0)
    optimizer = DPOptimizer(
      inner, noise_multiplier=0.0, max_grad_norm=1.0, expected_batch_size=len(x)
    )

    size = at_once or len(x)
    starts = range(0, len(x), size)

    def step():
      for start in starts:
        rows = slice(start, start + size)
        nn.functional.mse_loss(model(x[rows]), y[rows]).backward()
        # As in Opacus's BatchMemoryManager.
        optimizer.signal_skip_step(start != starts[-1])
        optimizer.pre_step()
        optimizer.zero_grad()

    return step

  return make


def ghost(x, y):
  model = GradSampleModuleFastGradientClipping(
    network(), max_grad_norm=1.0, use_ghost_clipping=True
  )
  inner = torch.optim.SGD(model.parameters(), lr=0.0)
  optimizer = DPOptimizerFastGradientClipping(
    inner, noise_multiplier=0.0, max_grad_norm=1.0, expected_batch_size=len(x)
  )

  criterion = DPLossFastGradientClipping(
    model, optimizer, _Criterion(), loss_reduction="mean"
  )

  def step():
    optimizer.zero_grad()
    criterion(model(x), y).backward()
    optimizer.pre_step()

  return step


class _Criterion(nn.Module):
  reduction = "mean"

  def forward(self, outputs, targets):
    losses = (outputs - targets).square().mean(1)
    return losses if self.reduction == "none" else losses.mean()


MODES = {
  "plain": plain,
  "Opacus, hooks": sampled({}),
  "Opacus, hooks, 16 at once": sampled({}, 16),
  "Opacus, hooks, 8 at once": sampled({}, 8),
  "Opacus, functorch": sampled({"force_functorch": True}),
  "Opacus, ghost": ghost,
}


def main():
  batch, rounds = int(sys.argv[1]), int(sys.argv[2])
  torch.manual_seed(0)
  torch.set_num_threads(2)
  x, y = torch.rand(batch, 3, 64, 64), torch.rand(batch, 70)
  seconds, steps = {}, {}
  for name, make in MODES.items():
    try:
      steps[name] = make(x, y)
      steps[name]()
    except Exception as error:  # a mode that this release does not have
      print(f"{name}: {error}", file=sys.stderr)
      steps.pop(name, None)
  for _ in range(rounds):
    for name, step in steps.items():
      start = time.perf_counter()
      step()
      taken = time.perf_counter() - start
      seconds[name] = min(taken, seconds.get(name, taken))
  print(json.dumps(seconds))


if __name__ == "__main__":
  warnings.simplefilter("ignore")
  main()
