"""What the attacks on a mechanism that releases features share."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from jaxpriv.attacks import (
  attribute_inference,
  evaluation,
  inversion,
  learning,
  reidentification,
)
from jaxpriv.attacks.evaluation import Setting, Witness
from jaxpriv.attacks.learning import Photographs
from jaxpriv.training.method import Phase

CLEAN, MEAN, OTHER = "clean features", "mean image", "another photograph"
KNOWLEDGE = {
  CLEAN: "nothing is protected: an inverter of f(x), the upper bound",
  MEAN: "nothing but photographs of other people: their mean",
  OTHER: "nothing: a photograph of another person",
  "A0": "the public featurizer, and photographs of its own",
  "A1": "pairs of released features and photographs",
  "A2": "may have photographs of its own poisoned, without end",
  "A3": "featurizer, decider, R0, and how the module is trained; no pair",
  "A4": "modules of other entities; no pair",
  "A5": "released features, and photographs of others; no pair",
  "A6": "the module itself, and no key or noise of the photograph",
}


class Target(NamedTuple):
  """A mechanism under attack.

  Attributes:
    name: in tables.
    phases: of its method: the first has clean_features, one reconstruct, the last
      features and logits.
    states: of the phases.
    kept: names of the attributes that are its task.
    task: photographs -> name -> labels [N] of what its decider says.
    modules: other modules trained as its own is: (seed) -> phase; None where
      there is nothing to train.
    again: the release with another secret; None where there is no secret.
    colluders: last phases of other entities, with their states.
  """

  name: str
  phases: list[Phase]
  states: Mapping[str, Any]
  kept: tuple[str, ...]
  task: Callable[[Photographs], dict[str, np.ndarray]]
  modules: Callable[[int], Phase] | None = None
  again: Phase | None = None
  colluders: tuple[tuple[Phase, Any], ...] = ()

  @property
  def last(self) -> Phase:
    return self.phases[-1]

  def frozen(self, phase: Phase) -> dict[str, Any]:
    return {name: self.states[name] for name in phase.needs}


class Readers(NamedTuple):
  """Who reads what was rebuilt, and what they read of the photographs.

  They are independent of all: they have learnt from photographs of attackers.

  Attributes:
    recogniser: of people.
    embeddings: its of the N test photographs.
    predictor: of attributes; None where the data name none.
    attributes: [N, A] as it reads them in the test photographs, or None.
  """

  recogniser: Witness
  embeddings: np.ndarray
  predictor: Witness | None
  attributes: np.ndarray | None

  def part(self, rows: Any) -> "Readers":
    """The same, of some of the photographs."""
    attributes = self.attributes
    return self._replace(
      embeddings=self.embeddings[rows],
      attributes=None if attributes is None else attributes[rows],
    )


class Scene(NamedTuple):
  """What the attacks on one target share.

  Attributes:
    setting: people and options.
    target: under attack.
    test: photographs with their released "features" and "clean" ones.
    known: those of the attackers, likewise.
    clean: the state of an inverter of clean features.
    readers: of what is rebuilt.
  """

  setting: Setting
  target: Target
  test: Photographs
  known: Photographs
  clean: Any
  readers: Readers

  @property
  def options(self):
    return self.setting.config.evaluation

  def inverter(self, name: str, **arguments: Any) -> Phase:
    """An inverter; those of clean features serve all targets."""
    config = self.setting.config
    if name != "clean":
      name = f"{name}_{self.target.name}"
    return inversion.inverter(
      name,
      config.model.reconstructor,
      config.data.image_size,
      **{"options": self.options.phases.inverter, **arguments},
    )

  def part(self, rows: Any) -> "Scene":
    """The same, of some of the test photographs."""
    return self._replace(
      test=self.test.part(rows), readers=self.readers.part(rows)
    )

  def picked(self, images: np.ndarray, count: int = 10) -> np.ndarray:
    """Those of some of the test photographs, uint8, for the strips."""
    rows = np.linspace(0, len(self.test) - 1, count).astype(int)
    some = images[rows]
    return some if some.dtype == np.uint8 else evaluation.released(some)

  def longer(self, pairs: int, **changes: Any) -> ConfigDict:
    """Options of an inverter that sees each of its pairs twice at least."""
    options = self.options.phases.inverter.copy_and_resolve_references()
    options.steps = max(options.steps, 2 * pairs // options.batch_size)
    options.update(changes)
    return options

  def train(self, phase, photographs, options=None, frozen=None) -> Any:
    kept = ("image", "identity", "attributes", "features")
    arrays = {k: v for k, v in photographs.arrays.items() if k in kept}
    photographs = Photographs(arrays, photographs.attribute_names)
    options = options or self.options.phases.inverter
    # Without the target's states all else of it is in the features.
    model = self.setting.config.model
    network = model if frozen else model.reconstructor
    return self.setting.train(
      phase, photographs, options, network, frozen=frozen
    )

  def apply(self, fn, state, photographs, frozen=None, finish=None):
    return learning.apply(
      fn,
      state,
      frozen or {},
      photographs,
      self.setting.mesh,
      self.options.batch_size,
      **({"finish": finish} if finish else {}),
    )

  def reconstruct(self, phase, state, features) -> np.ndarray:
    shown = self.test.having(features=features)
    images = self.apply(phase.method.outputs.reconstruct, state, shown)
    return finite(images, phase.name)

  def row(self, attack: str, images: np.ndarray, pairs: int | None = None):
    """A row of reconstructions, float32 [N, S, S, 3]."""
    key = attack if attack in KNOWLEDGE else attack.split()[0]
    likeness = inversion.likeness(
      self.test.arrays["image"], images, self.test.identities
    )
    shown = self.test.showing(evaluation.released(images))
    embeddings = self.readers.embeddings
    naive = reidentification.attacks(
      embeddings, self.readers.recogniser.read(shown), self.test.identities
    )[0]
    undisguised = reidentification.undisguised(embeddings, self.test.identities)
    read = self._attributes(shown)
    made = {
      "mechanism": self.target.name,
      "attack": attack,
      "knowledge": KNOWLEDGE[key],
      "pairs": pairs,
      **likeness,
      "hits": naive["hits"],
      "identified_of": naive["total"],
      **{name: naive[name] for name in ("rate", "low", "high", "chance")},
      "undisguised": undisguised["rate"],
      "attributes": read,
    }
    logging.info(
        "%s, %s%s: SSIM %.3f, aligned %.3f, rank-1 %.1f%%%s", self.target.name,
        attack, f", pairs: {pairs}" if pairs else "", made["ssim"],
        made["aligned_ssim"], 100 * made["rate"],
        f", attributes {100 * read['balanced']:.1f}%" if read else "",
    )  # fmt: skip
    return made

  def _attributes(self, shown: Photographs) -> dict | None:
    """What is read in them of hidden attributes; of the kept, if none is."""
    predictor, originally = self.readers.predictor, self.readers.attributes
    if predictor is None or originally is None:
      return None
    names, kept = shown.attribute_names, self.target.kept
    hidden = [i for i, name in enumerate(names) if name not in kept]
    columns = hidden or list(range(len(names)))
    found = attribute_inference.overall(
      predictor.read(shown)[:, columns],
      originally[:, columns],
      shown.arrays["attributes"][:, columns],
      shown.identities,
    )
    return found and {"what": "hidden" if hidden else "kept", **found}

  def precision(
    self,
    reader: str,
    what: str,
    logits: Mapping[str, np.ndarray],
    labels: np.ndarray,
  ) -> list[dict]:
    """A row of mean average precision, if any of the attributes varies.

    Args:
      reader: who reads the test photographs.
      what: attributes, "kept" or "hidden".
      logits: [N, A, 2] of "features" and of "clean" ones.
      labels: [N, A], -1 unknown.
    """
    if not labels.size:
      return []
    found = attribute_inference.precision(
      logits["features"], logits["clean"], labels, self.test.identities
    )
    name = {"mechanism": self.target.name, "reader": reader, "what": what}
    return [name | found] if found else []


def half(features: np.ndarray) -> np.ndarray:
  """float16, as they are released.

  Raises:
    ValueError: some are not finite, then or now.
  """
  with np.errstate(over="ignore"):
    made = features.astype(np.float16)
  if not np.isfinite(made).all():
    raise ValueError(
      "features are not finite, or too large for float16: training failed"
    )
  return made


def finite(images: np.ndarray, who: str) -> np.ndarray:
  """The images, grey where they are not finite, which is said."""
  bad = ~np.isfinite(images).all(axis=(1, 2, 3))
  if bad.any():
    logging.warning(
        "%s: %d of %d reconstructions are not finite, and grey in what follows",
        who, bad.sum(), len(bad),
    )  # fmt: skip
    images = np.where(bad[:, None, None, None], np.float32(0.5), images)
  return images


def fitted(features: np.ndarray) -> np.ndarray:
  """float16 of an attacker's features, which may be anything."""
  largest = float(np.finfo(np.float16).max)
  return np.clip(np.nan_to_num(features), -largest, largest).astype(np.float16)


def plain(photographs: Photographs) -> Photographs:
  arrays = {
    name: value
    for name, value in photographs.arrays.items()
    if name not in ("features", "clean")
  }
  return Photographs(arrays, photographs.attribute_names)
