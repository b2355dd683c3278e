"""`launch.benchmark`: layers, saliency maps and masks beside other programs."""

import time
from collections.abc import Sequence
from typing import Any

import dm_pix
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw

from jaxpriv.data import masks
from jaxpriv.data import strokes as strokes_lib
from jaxpriv.metrics import image as image_metrics
from jaxpriv.models import layers, saliency
from jaxpriv.models.resnet import ResNet


def time_layers(batch: int = 64, rounds: int = 10) -> list[dict]:
  """Our layers against XLA's own, and SSIM against dm_pix's, with gradient."""
  key = jax.random.key(0)
  x = jax.random.normal(key, (batch, 64, 64, 16))
  up = jax.random.normal(key, (batch, 16, 16, 32))
  kernel = jax.random.normal(key, (4, 4, 32, 16))
  small = jax.random.normal(key, (batch, 2, 2, 128))
  wide = jax.random.normal(key, (3, 3, 128, 128))
  shown = jax.random.uniform(key, (batch, 64, 64, 3))
  nhwc: Any = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}
  cases = {
    "max_pool 2/2, 64x64x16": (
      lambda x: layers.max_pool(x, 2, 2),
      lambda x: nn.max_pool(x, (2, 2), (2, 2)),
      (x,),
    ),
    "transposed_conv 16x16x32 -> 32x32x16": (
      layers.transposed_conv,
      lambda x, k: jax.lax.conv_transpose(
        x, k, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
      ),
      (up, kernel),
    ),
    "conv 2x2x128 -> 2x2x128": (
      lambda x, k: layers.conv_general_dilated(x, k, (1, 1), "SAME", **nhwc),
      lambda x, k: jax.lax.conv_general_dilated(x, k, (1, 1), "SAME", **nhwc),
      (small, wide),
    ),
    "ssim 64x64x3": (image_metrics.ssim, dm_pix.ssim, (shown, shown**2)),
  }
  rows = []
  for name, (ours, reference, arguments) in cases.items():
    numbers = tuple(range(len(arguments)))
    seconds = _seconds(
      [
        jax.grad(lambda *a, fn=fn: jnp.sum(fn(*a) ** 2), numbers)
        for fn in (ours, reference)
      ],
      arguments,
      rounds,
    )
    rows.append(
      dict(
        layer=name,
        ours_ms=round(1e3 * seconds[0], 2),
        theirs_ms=round(1e3 * seconds[1], 2),
        ratio=round(seconds[1] / seconds[0], 2),
      )
    )
  return rows


def time_saliency(
  networks: Sequence[tuple[Sequence[int], int, int, int]] = (
    ((1, 1, 1, 1), 16, 64, 64),  # mask_desensitization:demo
    ((3, 4, 6, 3), 64, 112, 4),  # the paper's ResNet-34
  ),
  rounds: int = 10,
) -> list[dict]:
  """Saliency maps of ResNets against their gradients by the images.

  A gradient convolves twice in each layer, a map thrice: what excites a unit is
  a sum of its own. So (gradient + logits) / gradient is what a map takes whose
  elementwise work is free.

  Args:
    networks: the depths and width of each, the images' side and their number.
    rounds: how often each is timed.
  """
  rows = []
  for depths, width, side, batch in networks:
    network = ResNet(depths, width, 100, (3, 2, False), pooled=False)
    images = jax.random.uniform(jax.random.key(0), (batch, side, side, 3))
    top = jax.nn.one_hot(jnp.arange(batch), 100)
    init = jax.jit(network.init, static_argnames="train")
    variables = init(jax.random.key(1), images, train=False)
    fn: Any = lambda images, network=network, variables=variables: (
      network.apply(variables, images, train=False)
    )
    programs = {
      "logits": lambda images, _, fn=fn: fn(images),
      "gradient": jax.grad(
        lambda images, top, fn=fn: jnp.sum(fn(images) * top)
      ),
      "map": lambda *a, fn=fn: saliency.excitation_backprop(fn, *a),
    }
    seconds = _seconds(list(programs.values()), (images, top), rounds)
    for what, value in zip(programs, seconds, strict=True):
      rows.append(
        dict(
          network=f"{sum(depths)} blocks, {width} wide, {side} px",
          what=what,
          ms_per_image=round(1e3 * value / batch, 3),
          ratio=round(value / seconds[1], 2),
        )
      )
  return rows


def _seconds(functions, arguments, rounds) -> list[float]:
  """Best time of each function, compiled; they take turns."""
  compiled = [jax.jit(fn) for fn in functions]
  best = [float("inf")] * len(compiled)
  for turn in range(rounds + 1):
    for i, fn in enumerate(compiled):
      start = time.perf_counter()
      jax.block_until_ready(fn(*arguments))
      if turn:  # the first compiles
        best[i] = min(best[i], time.perf_counter() - start)
  return best


def time_masks(
  side: int = 224, count: int = 512, rounds: int = 10
) -> list[dict]:
  """Random masks per second, against Pillow drawing the same strokes.

  Ours are made from keys, random numbers included, and lie on the device as
  bool [count, side, side]; Pillow, on one core, is given the segments. The two
  take turns, and the best time of each is taken.

  Returns:
    One dict per number of segments of a mask.
  """
  keys = jax.random.split(jax.random.key(0), count)
  rows = []
  for number, vertices in ((1, 12), (6, 16)):
    strokes = strokes_lib.Strokes(number, vertices, vertices)
    room = number * vertices
    draw = jax.jit(
      jax.vmap(
        lambda key, strokes=strokes, room=room: strokes_lib.free_form(
          key, strokes, side, drawn=masks.HOLES, segments=room
        )
      )
    )
    walk = jax.vmap(
      lambda key, strokes=strokes, room=room: strokes_lib.random_walk(
        key, strokes, side, room
      )
    )
    walks = [np.asarray(x).tolist() for x in walk(keys)]
    best = {"ours": float("inf"), "Pillow": float("inf")}
    for _ in range(rounds):
      for name, action in (
        ("ours", lambda draw=draw: jax.block_until_ready(draw(keys))),
        ("Pillow", lambda walks=walks: _draw_with_pillow(walks, side)),
      ):
        start = time.perf_counter()
        action()
        best[name] = min(best[name], time.perf_counter() - start)
    rows.append(
      dict(
        segments=room,
        ours_per_second=round(count / best["ours"]),
        pillow_per_second=round(count / best["Pillow"]),
        ratio=round(best["Pillow"] / best["ours"], 1),
      )
    )
  return rows


def _draw_with_pillow(walks, side) -> None:
  for segments in zip(*walks, strict=True):
    image = Image.new("L", (side, side))
    pen = ImageDraw.Draw(image)
    for start, end, width in zip(*segments, strict=True):
      pen.line([*start, *end], fill=255, width=round(width))
      for x, y in (start, end):
        r = width / 2
        pen.ellipse([x - r, y - r, x + r, y + r], fill=255)
    np.asarray(image)
