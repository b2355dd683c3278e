"""Measures how well entities learn from each other's features.

Used by `tools.entities`.
"""

import json
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from absl import logging
from etils import epath

from jaxpriv import files
from jaxpriv.data import pipeline, sources
from jaxpriv.data import pool as pool_lib
from jaxpriv.data.memory import InMemory
from jaxpriv.data.records import DataError
from jaxpriv.metrics import statistics
from jaxpriv.release import features
from jaxpriv.release.photographs import secret_order
from jaxpriv.reports import markdown as md
from jaxpriv.reports import wording
from jaxpriv.training import inference, mechanism, run
from jaxpriv.training import workdir as workdir_lib
from jaxpriv.training.mechanism import Trained
from jaxpriv.training.method import need
from launch import common

SHARES = {1: 0.1, 2: 0.1, 3: 0.1, 4: 0.01}
EVERYBODY = 5
# Shares of an entity's people. Only "train" is used, as all entities share one
# test set.
SPLITS = dict(train=0.8, attack=0.1, test=0.1)
TEST_SEED = 1000


class Row(NamedTuple):
  """One row of the table: who trains, and on which data.

  Attributes:
    entity: the owner of the photographs, or EVERYBODY.
    pools: the other entities whose pools are used.
    kind: "raw" (its own network, from scratch); "poisoned", "clean" or "labels"
      (noise in place of features), which fine-tune entity 1's decider;
      "unchanged" or "tuned" (entity 1's network, as it is or fine-tuned).
  """

  entity: int
  pools: tuple[int, ...]
  kind: str


# The paper's text leaves the labels of rows 7 to 12 partly open.
ROWS = (
  Row(1, (), "raw"),
  Row(2, (), "raw"),
  Row(3, (), "raw"),
  Row(4, (), "raw"),
  Row(EVERYBODY, (), "raw"),
  Row(1, (2,), "clean"),
  Row(1, (2,), "poisoned"),
  Row(2, (1,), "poisoned"),
  Row(3, (1, 2), "poisoned"),
  Row(3, (1, 2, 4), "poisoned"),
  Row(4, (1, 2), "poisoned"),
  Row(4, (1, 2, 3), "poisoned"),
  # Controls that the paper lacks.
  Row(4, (), "unchanged"),
  Row(4, (), "tuned"),
  Row(4, (1, 2, 3), "labels"),
  Row(4, (1, 2, 3), "clean"),
)


def describe(row: Row) -> str:
  others = " and ".join(map(str, row.pools))
  if row.kind == "unchanged":
    return f"entity {row.entity}: the network of entity 1, as it is"
  if row.kind == "tuned":
    return f"entity {row.entity}: the network of entity 1, own photographs"
  if row.kind == "raw":
    who = "all people" if row.entity == EVERYBODY else f"entity {row.entity}"
    return f"{who}: own photographs"
  what = {
    "poisoned": "poisoned features",
    "clean": "clean features",
    "labels": "labels with noise for features",
  }[row.kind]
  return f"entity {row.entity}: own photographs, {what} of {others}"


class Sweep:
  """The runs and pools of all entities, each created on first use."""

  def __init__(self, base, workdir: epath.Path, mesh, test_images: int):
    self.base, self.workdir, self.mesh = base, workdir, mesh
    data = base.data.copy_and_resolve_references()
    data.seed = TEST_SEED
    if 0 <= TEST_SEED - base.data.seed <= EVERYBODY:
      raise DataError(
        f"config.data.seed = {base.data.seed}: an entity would have the people"
        f" of seed {TEST_SEED}, on whom all are scored. Give another"
      )
    per_person = data.images_per_identity
    data.num_identities = math.ceil(test_images / per_person)
    self.test = sources.open_source(data)
    # Chosen on the test set, as a rare attribute may be constant in an entity.
    self.names = names = tuple(self.test.attribute_names)
    with (resolved := base.copy_and_resolve_references()).unlocked():
      resolved.data.attributes = names
    self.kept, _ = mechanism.load(base.method).split_attributes(resolved)
    labels = self._rows()["attributes"]
    columns = [names.index(name) for name in self.kept]
    self.labels = labels[:, columns]
    self.majority = float(
      np.mean([np.bincount(x[x >= 0]).max() / (x >= 0).sum()
               for x in self.labels.T])
    )  # fmt: skip

  def _rows(self):
    (batch,) = pipeline.epoch(
      self.test, np.arange(len(self.test)), batch_size=len(self.test)
    )
    return batch

  def config(self, entity: int):
    """The config of an entity, whose own seed gives it its own people."""
    config = self.base.copy_and_resolve_references()
    share = SHARES.get(entity, 1.0)
    with config.unlocked():
      config.data.seed = self.base.data.seed + entity
      config.data.splits = dict(SPLITS)
      config.data.num_identities = round(
        share * self.base.data.num_identities / SPLITS["train"]
      )
      config.data.cache = True
      config.data.attributes, config.model.kept = self.names, self.kept
      people = round(share * self.base.data.num_identities)
      for options in config.phases.values():
        images = people * config.data.images_per_identity
        options.batch_size = min(options.batch_size, images // 2)
    return config

  def _only(self, config, *names: str) -> None:
    """Trains only the named phases; the others are reused untrained."""
    for name, options in config.phases.items():
      if name not in names:
        options.steps = 0

  def train(self, name: str, config) -> epath.Path:
    path = self.workdir / name
    common.train(config, path, self.mesh)
    return path

  def alone(self, entity: int) -> epath.Path:
    """An entity's own network; for entity 1, whose network all use, also R0."""
    config = self.config(entity)
    self._only(
      config, "classifier", *(["reconstructor"] if entity == 1 else [])
    )
    return self.train(f"entity_{entity}", config)

  def module(self, entity: int) -> epath.Path:
    """An entity's own module for the network of entity 1."""
    config = self.config(entity)
    config.pretrained = str(self.alone(1))
    self._only(config, "poisoning")
    return self.train(f"module_{entity}", config)

  def pool(self, entity: int, kind: str) -> epath.Path:
    """The pool that an entity publishes from its training photographs."""
    path = self.workdir / f"pool_{entity}_{kind}"
    if path.exists():
      return path
    workdir = self.module(entity)
    config = workdir_lib.load_config(workdir)
    phases = mechanism.phases(config)
    states = run.load_phases(phases, config, workdir, self.mesh)
    if kind != "poisoned":
      with config.unlocked():
        config.model.update(module="none", refreshed=False)
        config.phases.poisoning.steps = 0
        for name, value in config.model.after.items():
          config.model.after[name] = type(value)(0)
      phases = mechanism.phases(config)
    target, *_ = mechanism.targets(config, Trained(tuple(phases), states))
    data = run.open_data(config)
    source = _part(data.source, data.splits["train"], self.kept)
    partial = path.with_name(path.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    # The order decides the batches of those who train on the pool: it is the
    # same in every sweep.
    order = secret_order(f"{config.seed} {kind}", len(source))
    features.write_pool(partial, target, self.mesh, source, order)
    if kind == "labels":
      _blank(partial)
    partial.rename(path)
    return path

  def score(self, row: Row) -> dict:
    """Accuracy over the kept attributes on the shared test people."""
    if row.kind == "raw":
      workdir = self.alone(row.entity)
    elif row.kind == "unchanged":
      workdir = self.alone(1)
    elif row.kind == "tuned":
      config = self.config(row.entity)
      config.pretrained = str(self.alone(1))
      self._only(config, "classifier")
      workdir = self.train(f"entity_{row.entity}_tuned", config)
    else:
      config = self.config(row.entity)
      pools = [str(self.pool(other, row.kind)) for other in row.pools]
      config.data.update(source="feature_pools", own="procedural")
      config.data.pools = tuple(pools)
      config.pretrained = str(self.alone(1))
      self._only(config, "classifier")
      images = sum(len(pool_lib.Pool(pool)) for pool in pools)
      config.phases.classifier.batch_size = min(
        self.base.phases.classifier.batch_size, images // 2
      )
      others = "".join(map(str, row.pools))
      workdir = self.train(f"entity_{row.entity}_{row.kind}_{others}", config)
    return self._accuracy(workdir)

  def _accuracy(self, workdir) -> dict:
    config = workdir_lib.load_config(workdir)
    phase = mechanism.phases(config)[0]
    state = run.load_phases([phase], config, workdir, self.mesh)[phase.name]
    batches = pipeline.epoch(
      self.test, np.arange(len(self.test)), batch_size=128
    )
    predictions = inference.predict(
      need(phase.method.outputs.labels, "labels"), state, {}, batches, self.mesh
    )
    labelled = self.labels >= 0
    right = ((predictions == self.labels) & labelled).sum(1) / labelled.sum(1)
    mean = statistics.mean_interval(right, self.test.identities)
    logging.info("%s: %s", workdir.name, wording.percent(mean.value))
    return {"accuracy": mean.value, "low": mean.low, "high": mean.high,
            "total": mean.total}  # fmt: skip


def _part(source: InMemory, rows: np.ndarray, names: Sequence[str]) -> InMemory:
  """Some records of a source, with some of their attributes."""
  some = source.take(rows)
  columns = [source.attribute_names.index(name) for name in names]
  attributes = some.arrays["attributes"][:, columns]
  arrays = {**some.arrays, "attributes": attributes}
  return InMemory(arrays, tuple(names), some.origin, some.rows)


def _blank(partial: epath.Path) -> None:
  """Keeps the labels of a pool and replaces its features by similar noise."""
  pool = pool_lib.Pool(partial)
  few = pool.features(range(min(len(pool), 256))).astype(np.float32)
  mean, spread = few.mean((0, 1, 2)), few.std((0, 1, 2))
  labels = pool.attributes.copy()
  rng = np.random.default_rng(0)

  def noise():
    for row in labels:
      z = mean + spread * rng.standard_normal(pool.shape, np.float32)
      yield {"features": np.maximum(z, 0).astype(np.float16), "attributes": row}

  pool_lib.write(
    partial,
    noise(),
    featurizer=pool.featurizer,
    layer=pool.layer,
    align=pool.align,
    attribute_names=pool.attribute_names,
    publish=False,
  )


def write(workdir, rows, majority: float) -> None:
  table = {"majority": majority, "rows": rows}
  files.atomic_write(
    workdir / "entities.json", json.dumps(table, indent=2) + "\n"
  )
  lines = md.header("row", "who trains on what", "accuracy", "95% interval")
  for row in rows:
    lines.append(
      md.row(
        [
          str(row["row"]),
          row["what"],
          wording.percent(row["accuracy"]),
          wording.interval(row["low"], row["high"]),
        ]
      )
    )
  lines.append("")
  lines.append(
    f"Mean over the attributes kept; always the commoner label:"
    f" {wording.percent(majority)}; {rows[0]['total']:,} photographs."
  )
  files.atomic_write(workdir / "entities.md", "\n".join(lines) + "\n")
