"""`launch.benchmark`: from files, drawn faces and feature pools to batches."""

import itertools
import os
import pathlib
import tempfile
import time
from collections.abc import Sequence

import numpy as np
from PIL import Image

from configs import common as common_config
from jaxpriv.data import (
  account,
  alignment,
  array_record,
  copies,
  dataset,
  feature_pools,
  images,
  memory,
  pipeline,
  records,
  sources,
  tree,
)
from jaxpriv.data import pool as pool_lib
from jaxpriv.data.array_record import ArrayRecordSource
from jaxpriv.data.folder import FolderSource
from jaxpriv.data.procedural import ProceduralFaces, render
from jaxpriv.training import people


def decode(
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


def reading(
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


def rendering(size: int = 64, rounds: int = 20) -> list[dict]:
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


def pools(num_maps: int = 50_000, batch_size: int = 64) -> list[dict]:
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
