"""Released features: a pool that others train on, and the public network.

The files are those of `jaxpriv.data.pool`; parameters.npz and config.json are
the network, for features of one's own images.
"""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from jaxpriv import files
from jaxpriv.data import pipeline
from jaxpriv.data import pool as pool_lib
from jaxpriv.data.records import DataError
from jaxpriv.release import card
from jaxpriv.release.product import Facts, Job, Product, Sections
from jaxpriv.reports import markdown as md
from jaxpriv.reports import wording
from jaxpriv.training import export, inference, mechanism, progress, published
from jaxpriv.training import workdir as workdir_lib
from jaxpriv.training.mechanism import Target


def check(job: Job) -> None:
  """Refuses a release without a pool, and buckets, before anything is read.

  Raises:
    DataError: features cannot be released so.
  """
  if job.target.pool is None:
    raise DataError(
      f"{job.target.name} has no pool to release its features in: its module"
      " gives none to its Target (jaxpriv.training.mechanism.Pool)"
    )
  if files.in_bucket(job.directory):
    raise DataError(
      f"--output: features are written to a folder of this machine, not to"
      f" {job.directory}; copy it there when it is finished"
    )


def write(job: Job) -> Facts:
  """Writes the pool.

  Raises:
    DataError: too many photographs are unreadable.
    ValueError: the mechanism has no pool, or a feature is not finite.
  """
  source = job.need_photographs().source
  count = write_pool(job.directory, job.target, job.mesh, source, job.order)
  pool = pool_lib.Pool(job.directory)
  return {
    "count": count,
    "layer": pool.layer,
    "shape": pool.shape,
    "featurizer_sha256": pool.featurizer,
    "attributes": source.attribute_names,
  }


def write_pool(
  directory: epath.Path,
  target: Target,
  mesh: jax.sharding.Mesh,
  source: Any,
  order: np.ndarray,
) -> int:
  """Writes features of all of a source, and the network they are made with.

  Args:
    directory: an existing folder.
    target: what makes the features.
    mesh: the mesh of its states.
    source: of framed photographs.
    order: int64 [N], its records as they come in the pool.

  Returns:
    how many photographs could be read.

  Raises:
    ValueError: the mechanism has no pool, or a feature is not finite.
  """
  if target.pool is None:
    raise ValueError(f"{target.name} has no pool to release its features in")
  pool = target.pool()
  count = pool_lib.write(
    directory,
    _records(target, mesh, source, order),
    featurizer=pool.featurizer,
    layer=pool.layer,
    align=target.config.data.align,
    attribute_names=source.attribute_names,
    publish=False,
  )
  export.write(directory / "parameters.npz", pool.parameters)
  workdir_lib.save_config(
    directory, ConfigDict(card.released_config(target.config))
  )
  return count


def _records(
  target: Target, mesh: jax.sharding.Mesh, source: Any, order: np.ndarray
) -> Iterator[dict[str, np.ndarray]]:
  """Features and labels of the readable photographs, in this order."""
  bound = target.trained.bound(mechanism.FEATURES)
  size = target.config.release.batch_size or len(order)
  with progress.bar("release", len(order), unit="image") as advance:
    for start in range(0, len(order), size):
      indices = order[start : start + size]
      (batch,) = pipeline.epoch(source, indices, batch_size=size)
      if batch["padding"].all():
        continue
      features = inference.predict(
        *bound, [batch], mesh, finish=published.features
      )
      labels = batch["attributes"][~batch["padding"]]
      for values, attributes in zip(features, labels, strict=True):
        yield {"features": values, "attributes": attributes}
      advance(start + len(indices))


def sections(facts: Facts) -> Sections:
  """Says what the pool holds, and how to use it."""
  shape = " × ".join(wording.count(side) for side in facts["shape"])
  labels = ", ".join(facts["attributes"])
  holds = (
    md.text(f"{wording.count(facts['count'])} feature maps of shape {shape} at")
    + f" layer {md.code(facts['layer'])}, "
    + md.text(f"labels {labels}" if labels else "without labels")
  )
  use = (
    f"Train on the pool with {md.code('--config.data.source=feature_pools')},"
    f" {md.code('--config.data.pools=FOLDER')} and"
    f" {md.code('--config.pretrained=FOLDER')}. The network that makes features"
    f" of other images is in {md.code('parameters.npz')} and"
    f" {md.code('config.json')}; its SHA-256 is"
    f" {md.code(facts['featurizer_sha256'])}."
  )
  return [
    ("", f"The pool holds {holds}. No photograph is released."),
    ("How to use the features", use),
  ]


FEATURES = Product(
  name=mechanism.FEATURES,
  noun="features",
  files=("features-", "index.json", "parameters.npz", "config."),
  write=write,
  sections=sections,
  question="features; of what?",
  check=check,
)
