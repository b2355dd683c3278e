"""Whether a run has what it learns from, before anything runs."""

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from jaxpriv.data.dataset import Data
from jaxpriv.data.records import DOMAINS, DataError
from jaxpriv.methods.face_synthesis import settings
from jaxpriv.methods.face_synthesis.settings import REFERENCES, STARGAN
from jaxpriv.training import extra_folder, transfer
from jaxpriv.training.mechanism import Load

# Not the target and the secret, which a trained model can be given anew.
MADE_WITH = {
  STARGAN: (
    *("data.image_size", "data.align", "model.domains", "model.latent"),
    *("model.style", "model.mapping", "model.generator", "model.encoder"),
  ),
  REFERENCES: ("model.target",),
}
_FEW = 100  # photographs of a domain


def check(config: ConfigDict, data: Data, load: Load) -> None:
  """Checks that there are images of every domain to learn from.

  Raises:
    DataError: there are none of one, or a phase does not fit.
  """
  names = settings.domains(config)
  copied = transfer.check_copied(config, MADE_WITH, load)
  if "folder" in config.model:
    _check_references(config, copied)
  if not config.phases[STARGAN].steps:
    return
  batch = config.phases[STARGAN].batch_size
  seen = _seen(data)
  for name in names:
    if not seen[DOMAINS.index(name)]:
      raise DataError(
        f"config.model.domains names {name}, and of {int(seen.sum())}"
        " photographs to train on none is of it. They are of"
        f" {', '.join(f'{n} ({c})' for n, c in zip(DOMAINS, seen) if c)}: give"
        " others in config.model.domains, or such photographs (column domain of"
        " labels.csv, or config.data.domain for drawn ones)"
      )
  counts = {name: int(seen[DOMAINS.index(name)]) for name in names}
  told = ", ".join(f"{name} {count:,}" for name, count in counts.items())
  logging.info("photographs to train on: about %s", told)
  fewest = min(names, key=counts.__getitem__)
  if counts[fewest] < _FEW:
    logging.warning(
      "%d photographs of %s will be learned by heart, so that images of it show"
      " these: use more. Or do labels not say what photographs show (column"
      " domain, or an identity called like it)?",
      counts[fewest],
      fewest,
    )
  there = int((seen > 0).sum())
  # A balanced batch also has rows of domains that are not learned.
  balanced = config.phases[STARGAN].get("balance", "") == "domain"
  least = 2 * (there if balanced else len(names))
  if batch < least:
    raise DataError(
      f"config.phases.{STARGAN}.batch_size = {batch}: references are taken from"
      f" the batch, two of each of {least // 2} domains; take {least} or more"
    )
  if balanced and there > len(names):
    logging.warning(
      "the data show %d domains and %d are learned (config.model.domains): of"
      " each batch only that share is. Leave the others out of the data",
      there,
      len(names),
    )


def _check_references(config: ConfigDict, copied: list[str]) -> None:
  """Reads the references, which must be of the networks of this run."""
  if REFERENCES not in copied and not config.phases[REFERENCES].steps:
    raise DataError(
      f"config.phases.{REFERENCES}.steps is 0, and no run is given whose"
      " references are taken over: give 1"
    )
  if REFERENCES in copied and config.phases[STARGAN].steps:
    raise DataError(
      f"config.phases.{REFERENCES}.steps is 0: their styles are of other"
      f" networks than those that {STARGAN} trains here; give 1"
    )
  if REFERENCES not in copied:
    extra_folder.check(settings.references(config))


def _seen(data: Data) -> np.ndarray:
  """How many photographs to train on are of each domain.

  It is told by 1,024 of them, where domains come with the images.
  """
  known = data.known("train", "domain")
  if known is not None:
    return np.bincount(known, minlength=len(DOMAINS))
  few = data._replace(splits={"train": _spread(data.splits["train"], 1024)})
  seen = np.zeros(len(DOMAINS), int)
  for rows in few.epoch("train", batch_size=128, everywhere=True):
    found = rows["domain"][~rows["padding"]]
    seen += np.bincount(found, minlength=len(DOMAINS))
  share = len(data.splits["train"]) / max(seen.sum(), 1)
  return np.ceil(seen * share).astype(int)


def _spread(rows: np.ndarray, count: int) -> np.ndarray:
  """At most `count` rows, evenly chosen."""
  chosen = np.linspace(0, len(rows) - 1, min(count, len(rows)))
  return rows[np.unique(chosen.round().astype(int))]
