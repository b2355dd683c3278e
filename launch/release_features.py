"""A release of features: a pool that others train on.

Not a program: `launch.release` writes it.
"""

import collections
import secrets
import shutil
from collections.abc import Iterator

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from jaxpriv.attacks import scene
from jaxpriv.data import alignment, pipeline
from jaxpriv.data import pool as pool_lib
from jaxpriv.data.records import DataError
from jaxpriv.reports import card as card_lib
from jaxpriv.training import export, inference, progress, run
from jaxpriv.training import workdir as workdir_lib
from launch import common, release_card

# Of a pool that was begun; anything else is somebody's.
FILES = (
  "features-",
  "index.json",
  "parameters.npz",
  "config.",
  "card.json",
  "CARD.md",
)


def release(
  workdir, output, partial, config, phases, mesh, raw, source
) -> None:
  """Writes a pool, the public classifier and the card.

  Args:
    workdir: the run.
    output: the folder to make.
    partial: the folder it is made in.
    config: of the run.
    phases: of it.
    mesh: the mesh.
    raw: the photographs as they are stored.
    source: the same, framed, with the attributes to release.

  Raises:
    DataError: partial is something else, or too many images are unreadable.
  """
  if config.model.task == "identity":
    raise DataError(
      "config.model.task=identity: a pool is released with attributes, never"
      " with the people in it"
    )
  if partial.exists():
    if not all(p.name.startswith(FILES) for p in partial.iterdir()):
      raise DataError(
        f"{partial} is in the way and holds what is not of features: remove it"
        " or choose another --output"
      )
    shutil.rmtree(partial)
  states = run.load_phases(phases, config, workdir, mesh)
  if not common.releases_features(config, phases, states):
    raise DataError(
      f"{workdir} has trained a decider and no more: what it protects with is"
      " not there. Train its other phases, too"
    )
  results = release_card.results_of(workdir, config, states)
  _warn_of_secret(config)
  partial.mkdir(parents=True)
  framing: collections.Counter[str] = collections.Counter()
  order = release_card.secret_order(secrets.token_hex(32), len(source))
  count = write_pool(partial, config, phases, states, mesh, source, order)
  for index in range(len(source)):
    if source.describe(index) not in source.unreadable:
      photograph = raw.photograph(index)
      framing[alignment.framed_by(photograph, config.data.align)] += 1
  pool = pool_lib.Pool(partial)
  lost = len(source) - count
  release_card.write(
    partial,
    config,
    states,
    {
      "features": {
        "count": count,
        "layer": config.model.layer,
        "shape": pool.shape,
        "featurizer_sha256": pool.featurizer,
        "attributes": source.attribute_names,
      },
      "counts": {"read": len(source), "written": count, "unreadable": lost},
      "unreadable": [],
      "framing": framing,
      "results": release_card.public_results(results),
    },
  )
  partial.rename(output)
  logging.info(
      "Features of %d photographs in %s; left out as unreadable, and named"
      " above: %d; faces framed %s", count, output, lost,
      card_lib.framed(framing),
  )  # fmt: skip


def _warn_of_secret(config) -> None:
  if config.model.secret:
    return
  if common.module_of(config).draws(config):
    logging.warning(
      "config.model.secret is 0, as everybody's is: whoever has a photograph"
      " can draw its key or noise. Train with a number of your own"
    )
  elif config.model.module != "none":
    logging.warning(
      "config.model.secret is 0, as everybody's is: whoever has the photographs"
      " that the module was trained on can train it again. Train with a number"
      " of your own"
    )


def write_pool(partial, config, phases, states, mesh, source, order) -> int:
  """Writes the features of all of a source, and the public classifier.

  Args:
    partial: the folder.
    config: of the run.
    phases: of it.
    states: of these.
    mesh: the mesh.
    source: of the photographs.
    order: of their records.

  Returns:
    how many photographs could be read.
  """
  first = phases[0].name
  module = common.module_of(config)
  count = pool_lib.write(
    partial,
    _records(phases, states, mesh, config, source, order),
    featurizer=module.featurizer_sha256(config, states[first]),
    layer=config.model.layer,
    align=config.data.align,
    attribute_names=source.attribute_names,
    publish=False,
  )
  # Whoever trains on the pool needs the network, which is no secret.
  public = module.public_classifier(config, states[first])
  export.write(partial / "parameters.npz", {first: public})
  shown = release_card.public_config(config)
  workdir_lib.save_config(partial, ConfigDict(shown))
  return count


def _records(
  phases, states, mesh, config, source, order
) -> Iterator[dict[str, np.ndarray]]:
  """Features and labels of the photographs, in this order."""
  last = phases[-1]
  frozen = {name: states[name] for name in last.needs}
  size = config.release.batch_size
  with progress.bar("release", len(order), unit="image") as advance:
    for start in range(0, len(order), size):
      indices = order[start : start + size]
      (batch,) = pipeline.epoch(source, indices, batch_size=size)
      if batch["padding"].all():
        continue
      made = inference.predict(
        last.method.outputs.features,
        states[last.name],
        frozen,
        [batch],
        mesh,
        finish=scene.half,
      )
      labels = batch["attributes"][~batch["padding"]]
      for values, attributes in zip(made, labels, strict=True):
        yield {"features": values, "attributes": attributes}
      advance(start + len(indices))
