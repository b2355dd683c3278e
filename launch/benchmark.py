"""Measures speed: python -m launch.benchmark [SUITE] ...; without names, all.

data: JPEG files to batches, decoding included. reading: a folder to memory, and
how much of it are copies and accounts. rendering: procedural faces on one core.
pools: feature pools to disk and back, against plain files. layers: our layers
against those of XLA that they replace. masks: random masks against drawing the
same strokes with Pillow. saliency: a map of excitation backprop against a
gradient by the image. dp: a private step against a plain one, jax_privacy and
Opacus. torch: a training step of a recogniser against torch's. precision:
losses in bfloat16 against those in float32.
"""

import itertools
import json
import os
import pathlib
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import dm_pix
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table

from configs import common as common_config
from jaxpriv import files as files_lib
from jaxpriv.data import (
  account,
  alignment,
  array_record,
  copies,
  dataset,
  feature_pools,
  images,
  masks,
  memory,
  pipeline,
  records,
  sources,
  tree,
)
from jaxpriv.data import pool as pool_lib
from jaxpriv.data import strokes as strokes_lib
from jaxpriv.data.array_record import ArrayRecordSource
from jaxpriv.data.folder import FolderSource
from jaxpriv.data.procedural import ProceduralFaces, render
from jaxpriv.metrics import image as image_metrics
from jaxpriv.models import layers, saliency
from jaxpriv.models.resnet import ResNet
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training import people
from launch import benchmark_dp, benchmark_precision, benchmark_torch, common

_SIZE = flags.DEFINE_integer("decode_size", 128, "Side of the JPEG files.", 16)
_TORCH = common.path_flag(
  "torch_python", "", "dp, torch: a Python with torch, for dp with opacus, too."
)
_BATCH = flags.DEFINE_integer("dp_batch", 64, "dp: examples of a step.", 1)
_ROUNDS = flags.DEFINE_integer(
  "dp_rounds", 10, "dp, torch: rounds that are timed of each.", 1
)
_MECHANISMS = flags.DEFINE_list(
  "precision_of", [], "precision: mechanisms; all when empty."
)
_STEPS = flags.DEFINE_integer(
  "precision_steps", 40, "precision: steps of each phase at most.", 8
)
_MAPS = flags.DEFINE_integer(
  "pool_maps", 50_000, "pools: feature maps of 16x16x64.", 64
)
_SECONDS = flags.DEFINE_float("decode_seconds", 4.0, "Length of one run.", 0)
_JSON = common.path_flag("json", "", "A JSON file to write, after each suite.")


def benchmark_decode(
  image_size: int = 128,
  *,
  num_images: int = 2048,
  batch_size: int = 128,
  workers: Sequence[int] = (0, 1, 2),
  seconds: float = 4.0,
) -> list[dict]:
  """Images per second through `pipeline.batches` from JPEG files.

  The files are synthetic, with about as many bytes per pixel as photographs of
  faces; nothing is cached between epochs but what the system caches of files.

  Args:
    image_size: side of the files and of the batches.
    num_images: how many files there are.
    batch_size: rows of a batch.
    workers: numbers of decoding processes to try; 0 decodes in threads.
    seconds: time measured for each row, after a warm-up.

  Returns:
    One dict per case: source, workers, images_per_second, bytes_per_image, and
    images_per_cpu_second, which a machine shared with others does not distort
    (None with workers, whose time is not this process's).
  """
  results = []
  with tempfile.TemporaryDirectory() as folder:
    files, packed = _make_files(pathlib.Path(folder), image_size, num_images)
    size = sum(f.stat().st_size for f in files.glob("*.jpg")) / num_images
    for name, raw, align in (
      ("folder", FolderSource(files), "centre"),
      ("folder, five-point alignment", FolderSource(files), "landmarks"),
      ("array_record", ArrayRecordSource(packed), "centre"),
    ):
      source = sources.Framed(raw, image_size, align)
      for count in workers:
        rate, cpu_rate = _rates(source, batch_size, count, seconds)
        results.append(
          dict(
            source=name,
            workers=count,
            images_per_second=round(rate),
            images_per_cpu_second=None if count else round(cpu_rate),
            bytes_per_image=round(size),
          )
        )
  return results


def benchmark_reading(
  image_size: int = 250, *, num_images: int = 6000, rounds: int = 3
) -> list[dict]:
  """Seconds that reading a folder takes, and what is spent on its account.

  The baseline reads labels.csv, decodes and frames JPEG files to 64 pixels. On
  top come listing the folder, looking for copies, the account of files, and the
  hashes by which a run knows again what it has learned from.

  Args:
    image_size: side of the files.
    num_images: how many files there are.
    rounds: of each; the best is taken.

  Returns:
    One dict per case: work, seconds of CPU time, and the share of reading.
  """
  config = common_config.data()
  with tempfile.TemporaryDirectory() as folder:
    files, _ = _make_files(pathlib.Path(folder), image_size, num_images)
    config.update(source="folder", path=str(files))
    shares = {"train": 0.6, "attack": 0.2, "test": 0.2}
    seconds: dict[str, list[float]] = {}

    def timed(work, call):
      start = time.process_time()
      result = call()
      seconds.setdefault(work, []).append(time.process_time() - start)
      return result

    def read():
      raw = FolderSource(files)
      framed = sources.Framed(raw, config.image_size, config.align)
      return memory.in_memory(framed)

    for _ in range(rounds):
      timed("listing", lambda: tree.walk(files))
      loaded = timed("reading", read)
      timed(
        "copies",
        lambda loaded=loaded: copies.settle(loaded, "refuse", config.align),
      )
      timed("account", lambda loaded=loaded: account.of(loaded))
      data = dataset.split_data(loaded, shares, 0, "image")
      timed("hashes", lambda data=data: people.fed(data))
  best = {work: min(times) for work, times in seconds.items()}
  best["all but reading"] = sum(best.values()) - best["reading"]
  return [
    dict(
      work=work,
      cpu_seconds=round(value, 2),
      share_of_reading=f"{value / best['reading']:.1%}",
    )
    for work, value in best.items()
  ]


def _rates(source, batch_size, workers, seconds) -> tuple[float, float]:
  """Images per second of wall clock, and of this process's CPU time."""
  batches = pipeline.batches(
    source,
    np.arange(len(source)),
    batch_size=batch_size,
    seed=0,
    num_workers=workers,
    process_index=0,
    process_count=1,
  )
  # Long enough for workers to start and for read-ahead to be used up.
  for _ in range(8 + 8 * workers):
    next(batches)
  start, cpu, count = time.perf_counter(), time.process_time(), 0
  while time.perf_counter() - start < seconds:
    count += len(next(batches)["padding"])
  rate = count / (time.perf_counter() - start)
  cpu_rate = count / (time.process_time() - cpu)
  batches.close()
  return rate, cpu_rate


def _make_files(folder, image_size, num_images):
  rng = np.random.default_rng(0)
  files = folder / "files"
  files.mkdir()

  lines = ["file,n_points,points"]

  def make():
    for i in range(num_images):
      pixels = _texture(rng, image_size)
      name = f"{i:05d}.jpg"
      (files / name).write_bytes(images.encode(pixels))
      points = alignment.arcface_template(image_size)
      points = points + rng.normal(0, image_size / 30, points.shape)
      cell = ";".join(f"{x:.1f},{y:.1f}" for x, y in points)
      lines.append(f'{name},5,"{cell}"')
      yield records.record(pixels)

  array_record.write(folder / "packed", make())
  (files / "labels.csv").write_text("\n".join(lines))
  return files, folder / "packed"


def _texture(rng, size) -> np.ndarray:
  """Detail at every scale, falling off like that of photographs."""
  total = np.full((size, size, 3), 128.0)
  cells, strength = 4, 40.0
  while cells <= size:
    noise = rng.uniform(0, 255, (cells, cells, 3)).astype(np.uint8)
    big = Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC)
    total += (np.asarray(big, np.float64) - 128) * (strength / 128)
    cells, strength = cells * 2, strength * 0.45
  return np.clip(total, 0, 255).astype(np.uint8)


def benchmark_rendering(size: int = 64, rounds: int = 20) -> list[dict]:
  """Images per CPU second of drawing faces in NumPy, in this one process."""
  source = ProceduralFaces(image_size=size)
  params = source.params(np.arange(256), "human")
  rows = []
  for name, draw in (
    ("pixels", lambda: render(params, size)),
    ("records", lambda: source.batch(np.arange(256))),
  ):
    draw()
    start = time.process_time()
    for _ in range(rounds):
      draw()
    spent = time.process_time() - start
    rows.append(
      dict(what=name, images_per_cpu_second=round(256 * rounds / spent))
    )
  return rows


def benchmark_pools(num_maps: int = 50_000, batch_size: int = 64) -> list[dict]:
  """Feature maps [16, 16, 64] to disk and back through `pipeline.batches`.

  Beside each, the same number of bytes written to, or read from, plain files
  from end to end. Files are read twice: from the memory in which the system
  keeps what was just written, and, dropped from there, from the disk. Takes
  twice the size of the maps in the folder for temporary files, 3.3 GB.

  Returns:
    One dict per case: what, megabytes_per_second, and memory_megabytes, by how
    much the most memory resident at once exceeds that of before.
  """
  rng = np.random.default_rng(0)
  maps = rng.standard_normal((64, 16, 16, 64)).astype(np.float16)
  size = num_maps * maps[0].nbytes
  rows = []

  def measure(what, action):
    before = _memory("VmRSS", reset=True)
    start = time.perf_counter()
    action()
    spent = time.perf_counter() - start
    rows.append(
      dict(
        what=what,
        megabytes_per_second=round(size / spent / 1e6),
        memory_megabytes=round((_memory("VmHWM") - before) / 1e6, 1),
      )
    )

  def write():
    labels = np.zeros(4, np.int8)
    records = ({"features": m, "attributes": labels} for m in maps)
    pool_lib.write(
      folder / "pool",
      itertools.islice(itertools.cycle(records), num_maps),
      featurizer="0" * 64,
      layer="random",
      align="centre",
      attribute_names=("Male", "Smiling", "Big_Nose", "Eyeglasses"),
    )

  def write_plainly():
    data = maps.tobytes()
    with open(folder / "plain", "wb") as file:
      for start in range(0, size, len(data)):
        file.write(data[: size - start])

  def read():
    own = memory.in_memory(ProceduralFaces(4, 2, image_size=64))
    source = feature_pools.FeaturePools(own, [pool_lib.Pool(folder / "pool")])
    batches = pipeline.batches(
      source,
      np.arange(len(own), len(source)),
      batch_size=batch_size,
      seed=0,
      process_index=0,
      process_count=1,
    )
    for _ in range(num_maps // batch_size):
      next(batches)
    batches.close()

  def read_plainly():
    for file in files:
      with open(file, "rb", buffering=0) as stream:
        while stream.read(2**21):
          pass

  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    measure("pool written", write)
    measure("plain file written", write_plainly)
    (folder / "plain").unlink()
    files = sorted((folder / "pool").glob("*.array_record"))
    for where in ("memory of the system", "disk"):
      for what, action in (
        ("pool, random batches", read),
        ("its files, plainly", read_plainly),
      ):
        if where == "disk":
          _drop(files)
        measure(f"{what}, from the {where}", action)
  return rows


def _memory(field: str, reset: bool = False) -> int:
  """Bytes of this process: VmRSS resident, VmHWM the most since a reset."""
  if reset:
    pathlib.Path("/proc/self/clear_refs").write_text("5")
  for line in pathlib.Path("/proc/self/status").read_text().splitlines():
    if line.startswith(field):
      return int(line.split()[1]) * 1024
  raise ValueError(f"/proc/self/status has no {field}")


def _drop(files: Sequence[pathlib.Path]) -> None:
  """Has the system forget the contents of files, so that the disk is read."""
  for file in files:
    with open(file, "rb") as stream:
      os.fsync(stream.fileno())
      os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def benchmark_layers(batch: int = 64, rounds: int = 10) -> list[dict]:
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


def benchmark_saliency(
  depths: Sequence[int] = (1, 1, 1),
  width: int = 8,
  size: int = 64,
  *,
  batch: int = 64,
  rounds: int = 10,
) -> list[dict]:
  """A saliency map of a ResNet against its gradient by the images."""
  network = ResNet(depths, width, 100, (3, 2, False), pooled=False)
  images = jax.random.uniform(jax.random.key(0), (batch, size, size, 3))
  top = jax.nn.one_hot(jnp.arange(batch), 100)
  init = jax.jit(network.init, static_argnames="train")
  variables = init(jax.random.key(1), images, train=False)
  fn: Any = lambda images: network.apply(variables, images, train=False)
  gradient = jax.grad(lambda images, top: jnp.sum(fn(images) * top))
  excitation = lambda *a: saliency.excitation_backprop(fn, *a)
  seconds = _seconds([gradient, excitation], (images, top), rounds)
  return [
    dict(
      what=what,
      ms_per_image=round(1e3 * value / batch, 3),
      ratio=round(value / seconds[0], 2),
    )
    for what, value in zip(("gradient", "map"), seconds, strict=True)
  ]


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


def benchmark_masks(
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


SUITES = {
  "data": lambda: benchmark_decode(_SIZE.value, seconds=_SECONDS.value),
  "reading": benchmark_reading,
  "rendering": benchmark_rendering,
  "pools": lambda: benchmark_pools(_MAPS.value),
  "layers": benchmark_layers,
  "masks": benchmark_masks,
  "saliency": benchmark_saliency,
  "dp": lambda: benchmark_dp.run(_BATCH.value, _ROUNDS.value, _TORCH.value),
  "torch": lambda: benchmark_torch.run(_ROUNDS.value, _TORCH.value),
  "precision": lambda: benchmark_precision.run(_MECHANISMS.value, _STEPS.value),
}


def main(argv: list[str]) -> None:
  suites = argv[1:] or list(SUITES)
  unknown = sorted(set(suites) - set(SUITES))
  if unknown:
    raise app.UsageError(
      f"there is no benchmark {unknown[0]!r}; there are {', '.join(SUITES)}"
    )
  mesh_lib.initialize()
  done: dict[str, list[dict]] = {}
  for suite in suites:
    rows = done[suite] = SUITES[suite]()
    if _JSON.value:
      content = {"device": jax.devices()[0].device_kind,
                 "devices": jax.device_count(), "jax": jax.__version__,
                 "suites": done}  # fmt: skip
      files_lib.atomic_write(_JSON.value, json.dumps(content, indent=2) + "\n")
    table = Table(*rows[0], title=suite)
    for row in rows:
      table.add_row(*(str(value) for value in row.values()))
    Console().print(table)


if __name__ == "__main__":
  app.run(main)
