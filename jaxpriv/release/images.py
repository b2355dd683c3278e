"""Protected images: PNG files in a secret order, and the attributes they keep.

    images/00000017.png    number 17 of the release
    labels.csv             file, and a column for each attribute

A number without an image stands for an original that could not be read.
"""

import csv
import io
from collections.abc import Callable

import numpy as np
from etils import epath

from jaxpriv import files
from jaxpriv.data import pipeline
from jaxpriv.data.records import Batch
from jaxpriv.release.product import Facts, Job, Product, Sections
from jaxpriv.reports import markdown as md
from jaxpriv.reports import wording
from jaxpriv.training import inference, mechanism, pictures, progress, published

NAME = "images/{:08d}.png"


def write(job: Job) -> Facts:
  """Writes the images that are not there yet, and labels.csv.

  Raises:
    DataError: too many photographs are unreadable.
    ValueError: a protected image is not finite.
  """
  source = job.need_photographs().source
  size = job.config.release.batch_size or len(source)
  protect = _protect(job)
  rows: list[dict[str, str]] = []
  missing: list[str] = []
  with progress.bar("release", len(job.order), unit="image") as advance:
    for start in range(0, len(job.order), size):
      indices = job.order[start : start + size]
      names = np.array([NAME.format(start + i) for i in range(len(indices))])
      (batch,) = pipeline.epoch(source, indices, batch_size=size)
      readable = ~batch["padding"][: len(indices)]
      if not all((job.directory / name).exists() for name in names[readable]):
        for name, image in zip(names[readable], protect(batch), strict=True):
          pictures.save_png(job.directory / name, image)
      for i in np.flatnonzero(readable).tolist():
        labels = _labels(source.attribute_names, batch["attributes"][i])
        rows.append({"file": str(names[i]), **labels})
      missing.extend(names[~readable].tolist())
      advance(start + len(indices))
  _write_labels(job.directory / "labels.csv", source.attribute_names, rows)
  return {
    "count": len(rows),
    "attributes": source.attribute_names,
    "missing": missing,
  }


def _protect(job: Job) -> Callable[[Batch], np.ndarray]:
  """The mechanism: a batch -> uint8 [N, H, W, 3] of its readable examples."""
  bound = job.target.trained.bound(mechanism.IMAGE)

  def protect(batch):
    return inference.predict(*bound, [batch], job.mesh, finish=published.images)

  return protect


def _labels(names: tuple[str, ...], values: np.ndarray) -> dict[str, str]:
  return {
    name: "" if value < 0 else str(int(value))
    for name, value in zip(names, values, strict=True)
  }


def _write_labels(
  path: epath.Path, names: tuple[str, ...], rows: list[dict[str, str]]
) -> None:
  stream = io.StringIO()
  writer = csv.DictWriter(stream, ["file", *names], lineterminator="\n")
  writer.writeheader()
  writer.writerows(rows)
  files.atomic_write(path, stream.getvalue())


def sections(facts: Facts) -> Sections:
  """Says what the files are."""
  labels = ", ".join(facts["attributes"])
  holds = f"holds their attributes: {labels}" if labels else "no attributes"
  return [
    (
      "",
      f"{md.code('images')} holds {wording.count(facts['count'])} protected"
      f" images, in an order that says nothing; {md.code('labels.csv')}"
      f" {md.text(holds)}. No photograph is released.",
    )
  ]


IMAGES = Product(
  name=mechanism.IMAGE,
  noun="images",
  files=("images", "labels.csv"),
  write=write,
  sections=sections,
  question="images; which ones?",
  resumable=True,
)
