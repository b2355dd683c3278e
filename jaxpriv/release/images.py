"""Protected images: PNG files in a secret order, and the attributes they keep.

    images/00000017.png    number 17 of the release
    masks/00000017.png     white where it is the photograph's, if that is public
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
  folders = ["images", *(["masks"] if _masked(job) else [])]
  rows: list[dict[str, str]] = []
  missing: list[str] = []
  with progress.bar("release", len(job.order), unit="image") as advance:
    for start in range(0, len(job.order), size):
      indices = job.order[start : start + size]
      names = np.array([NAME.format(start + i) for i in range(len(indices))])
      (batch,) = pipeline.epoch(source, indices, batch_size=size)
      readable = ~batch["padding"][: len(indices)]
      wanted = [[_in(f, name) for name in names[readable]] for f in folders]
      if not all((job.directory / n).exists() for kind in wanted for n in kind):
        for kind, made in zip(wanted, protect(batch), strict=True):
          for name, image in zip(kind, made, strict=True):
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
    "masks": _masked(job),
    "missing": missing,
  }


def _masked(job: Job) -> bool:
  return job.target.trained.phase_with("keep") is not None


def _in(folder: str, name: str) -> str:
  return name.replace("images", folder, 1)


def _protect(job: Job) -> Callable[[Batch], list[np.ndarray]]:
  """The mechanism: a batch -> uint8 [N, H, W, 3] of its readable examples.

  And of their masks, where they are public.
  """
  trained = job.target.trained
  finishes: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    mechanism.IMAGE: published.images
  }
  if _masked(job):
    finishes["keep"] = lambda keep: np.repeat(
      255 * keep[..., None].astype(np.uint8), 3, -1
    )

  def protect(batch):
    return [
      inference.predict(
        *trained.bound(output), [batch], job.mesh, finish=finish
      )
      for output, finish in finishes.items()
    ]

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
  masks = ""
  if facts["masks"]:
    masks = (
      f" {md.code('masks')} says which of their pixels are those of the"
      " photographs: those that are white."
    )
  return [
    (
      "",
      f"{md.code('images')} holds {wording.count(facts['count'])} protected"
      f" images, in an order that says nothing; {md.code('labels.csv')}"
      f" {md.text(holds)}.{masks} No photograph is released.",
    )
  ]


IMAGES = Product(
  name=mechanism.IMAGE,
  noun="images",
  files=("images", "masks", "labels.csv"),
  write=write,
  sections=sections,
  question="images; which ones?",
  resumable=True,
)
