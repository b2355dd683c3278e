"""Trains the recogniser of `launch.benchmark torch` in torch, step by step.

That program runs it with the Python of a separate environment:

  python -m venv torch && torch/bin/pip install torch
  python -m launch.benchmark torch --torch_python=torch/bin/python

It is the IResNet of jaxpriv.models.iresnet with an ArcFace head and Adam, whose
sizes are JSON in the first argument. For each line that it reads, a number of
steps, it writes the seconds that a step took.
"""

import json
import math
import sys
import time

import torch
from torch import nn
from torch.nn import functional


def conv(before, features, size, stride):
  return nn.Conv2d(before, features, size, stride, size // 2, bias=False)


class Block(nn.Module):
  """Norm, conv, norm, PReLU, conv, norm, added to the input."""

  def __init__(self, before, features, stride):
    super().__init__()
    self.inner = nn.Sequential(
      nn.BatchNorm2d(before),
      conv(before, features, 3, 1),
      nn.BatchNorm2d(features),
      nn.PReLU(features),
      conv(features, features, 3, stride),
      nn.BatchNorm2d(features),
    )
    self.outer = nn.Sequential()
    if stride != 1 or before != features:
      self.outer = nn.Sequential(
        conv(before, features, 1, stride), nn.BatchNorm2d(features)
      )

  def forward(self, x):
    return self.inner(x) + self.outer(x)


def network(side, depths, width, features, stem_stride):
  layers = [conv(3, width, 3, stem_stride), nn.BatchNorm2d(width),
            nn.PReLU(width)]  # fmt: skip
  before, side = width, side // stem_stride
  for stage, depth in enumerate(depths):
    for i in range(depth):
      layers.append(Block(before, width * 2**stage, 1 if i else 2))
      before = width * 2**stage
    side //= 2
  last = nn.BatchNorm1d(features)
  nn.init.ones_(last.weight).requires_grad_(False)
  layers += [nn.BatchNorm2d(before), nn.Flatten(),
             nn.Linear(before * side * side, features), last]  # fmt: skip
  return nn.Sequential(*layers)


def trained(sizes, channels_last):
  """A step of training, and how many parameters are trained."""
  torch.manual_seed(0)
  names = ("side", "depths", "width", "features", "stem_stride")
  model = network(*(sizes[name] for name in names))
  classes, scale, margin = sizes["classes"], sizes["scale"], sizes["margin"]
  weight = nn.Parameter(0.01 * torch.randn(classes, sizes["features"]))
  x = torch.rand(sizes["batch"], 3, sizes["side"], sizes["side"])
  y = torch.arange(sizes["batch"]) % classes
  if channels_last:
    model = model.to(memory_format=torch.channels_last)
    x = x.to(memory_format=torch.channels_last)
  params = [p for p in (*model.parameters(), weight) if p.requires_grad]
  optimizer = torch.optim.Adam(params, lr=1e-3)
  rows = torch.arange(len(y))

  def step():
    optimizer.zero_grad()
    embeddings = functional.normalize(model((x - 0.5) / 0.5))
    cosine = embeddings @ functional.normalize(weight).T
    own = cosine[rows, y].clamp(-1 + 1e-7, 1 - 1e-7)
    further = (own.acos() + margin).cos()
    # Beyond half a turn the cosine would rise again.
    straight = own - margin * math.sin(margin)
    further = further.where(own > math.cos(math.pi - margin), straight)
    logits = scale * cosine.index_put((rows, y), further)
    functional.cross_entropy(logits, y).backward()
    optimizer.step()

  return step, sum(p.numel() for p in params)


def main():
  sizes = json.loads(sys.argv[1])
  torch.set_num_threads(sizes["threads"])
  step, parameters = trained(sizes, sizes["channels_last"])
  step()
  print(json.dumps({"parameters": parameters, "torch": torch.__version__}))
  sys.stdout.flush()
  for line in sys.stdin:
    then = time.perf_counter()
    for _ in range(int(line)):
      step()
    print((time.perf_counter() - then) / int(line))
    sys.stdout.flush()


if __name__ == "__main__":
  main()
