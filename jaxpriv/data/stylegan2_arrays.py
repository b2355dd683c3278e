"""Names of a StyleGAN2 generator's arrays in files of its authors' program.

Those of the generator in stylegan2-ada-pytorch, as it names them, brought into
the order of axes and the direction of kernels of `models.stylegan2`. Averages
of w and fixed noise are not read: they are made anew.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from jaxpriv.data.records import DataError
from jaxpriv.data.safetensors import Named

# Here kernels are [h, w, in, out], there [out, in, h, w].
_kernel = lambda array: array.transpose(2, 3, 1, 0)
# There, sides are doubled by a convolution in its proper sense, with the kernel
# turned round; all other layers are correlations, as all are here.
_turned = lambda array: _kernel(array)[::-1, ::-1]
_constant = lambda array: array.transpose(1, 2, 0)


def table(side: int, layers: int = 8) -> dict[str, Named]:
  """Path of a parameter of the generator -> where it is in a file.

  Args:
    side: of the images, a power of 2.
    layers: of the mapping network.
  """
  found = {"synthesis/constant": Named("synthesis.b4.const", _constant)}

  def dense(path: str, name: str) -> None:
    found[f"{path}/kernel"] = Named(f"{name}.weight", np.transpose)
    found[f"{path}/bias"] = Named(f"{name}.bias")

  for i in range(layers):
    dense(f"mapping/layer_{i}", f"mapping.fc{i}")
  for place in (2**i for i in range(2, side.bit_length())):
    for here, there in (("up", "conv0"), ("conv", "conv1"), ("rgb", "torgb")):
      if here == "up" and place == 4:
        continue
      path, name = f"synthesis/{here}_{place}", f"synthesis.b{place}.{there}"
      change = _turned if here == "up" else _kernel
      found[f"{path}/kernel"] = Named(f"{name}.weight", change)
      found[f"{path}/bias"] = Named(f"{name}.bias")
      dense(f"{path}/style", f"{name}.affine")
      if here != "rgb":
        found[f"{path}/noise"] = Named(f"{name}.noise_strength")
  return found


class Sizes(NamedTuple):
  """The sizes of a generator: at side s it has base / s channels, or `most`."""

  side: int
  latent: int
  width: int
  layers: int
  base: int
  most: int


def sizes(arrays: Mapping[str, np.ndarray], where: str) -> Sizes:
  """The sizes of a generator, by the shapes of its arrays.

  Args:
    arrays: by name.
    where: names the file in errors.

  Raises:
    DataError: they are of no such generator, or of one with conditions.
  """
  constant, first = "synthesis.b4.const", "mapping.fc0.weight"
  numbers = lambda pattern: [
    int(match[1]) for match in map(re.compile(pattern).fullmatch, arrays)
    if match
  ]  # fmt: skip
  sides = numbers(r"synthesis\.b(\d+)\.conv1\.weight")
  if constant not in arrays or first not in arrays or not sides:
    raise DataError(
      f"{where} is of no StyleGAN2 generator: it has no {constant}, {first} or"
      " synthesis.b8.conv1.weight, as stylegan2-ada-pytorch calls them"
    )
  if "mapping.embed.weight" in arrays:
    raise DataError(
      f"{where} is of a generator with classes (mapping.embed): only those"
      " without any are read"
    )
  width, latent = arrays[first].shape
  side, most = max(sides), len(arrays[constant])
  last = len(arrays[f"synthesis.b{side}.conv1.weight"])
  layers = len(numbers(r"mapping\.fc(\d+)\.weight"))
  return Sizes(side, latent, width, layers, last * side, most)
