"""Everything that is measured of a mechanism, by attackers that learn.

Attackers learn on people of config.evaluation.attacker_splits and are scored on
people of the test split, whom neither they nor the mechanism has seen.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging
from etils import epath
from ml_collections import ConfigDict

from jaxpriv.attacks import attribute_inference, learning, reidentification
from jaxpriv.attacks.learning import Photographs
from jaxpriv.metrics import image as image_metrics
from jaxpriv.training import pictures
from jaxpriv.training.method import Phase

# photographs -> uint8 images of what is released for them.
Protect = Callable[[Photographs], np.ndarray]


class Witness(NamedTuple):
  """A trained network that reads images.

  Attributes:
    name: as it stands in tables.
    read: photographs -> [N, D] embeddings or [N, A] attribute labels.
    used_in_loss: the mechanism was trained against it.
  """

  name: str
  read: Callable[[Photographs], np.ndarray]
  used_in_loss: bool


class Setting(NamedTuple):
  """What every attack of one evaluation shares."""

  config: ConfigDict
  workdir: epath.PathLike
  mesh: jax.sharding.Mesh
  attackers: Photographs
  test: Photographs

  def train(
    self,
    phase: Phase,
    photographs: Photographs,
    options: ConfigDict,
    network: ConfigDict,
    start: Any = None,
    frozen: Mapping[str, Any] | None = None,
    renumber: bool = True,
  ) -> Any:
    """A trained attacker.

    Args:
      phase: to train.
      photographs: on what.
      options: of the phase.
      network: settings of its model.
      start: gives its first parameters, if any.
      frozen: states of other phases.
      renumber: whether people are numbered 0, 1, ... as they are here.
    """
    if renumber:
      photographs = learning.as_classes(photographs)
    return learning.train(
      phase,
      photographs,
      options,
      seed=self.config.seed,
      workdir=self.workdir,
      mesh=self.mesh,
      start=None if start is None else lambda state: _taken_over(state, start),
      frozen=frozen,
      key=learning.digest(photographs, options, network, start, frozen),
    )

  def witness(
    self,
    name: str,
    predict: Callable,
    state: Any,
    frozen: Mapping | None = None,
    used_in_loss: bool = False,
  ) -> Witness:
    def read(photographs):
      return learning.apply(
          predict, state, frozen or {}, photographs, self.mesh,
          self.config.evaluation.batch_size,
      )  # fmt: skip

    return Witness(name, read, used_in_loss)


def _taken_over(state: Any, other: Any) -> Any:
  parts = ("params", "batch_stats")
  return {
    **state,
    **{k: jax.tree.map(lambda x: x.copy(), other[k]) for k in parts},
  }


def released(images: np.ndarray) -> np.ndarray:
  """uint8, as a PNG holds it: attackers see what is published, no more.

  Raises:
    ValueError: an image is not finite, so that there is nothing to release.
  """
  bad = ~np.isfinite(images).all(axis=(1, 2, 3))
  if bad.any():
    raise ValueError(
      f"{int(bad.sum())} of {len(images)} protected images are not finite."
      " k-Same does so where the set has fewer than k people or people are"
      " unknown; a trained mechanism, where its training failed"
    )
  return pictures.to_uint8(images)


def witnesses_of(
  setting: Setting, phases: list[Phase], states: Mapping[str, Any]
) -> tuple[list[Witness], list[Witness]]:
  """The recognisers and attribute predictors among a mechanism's own phases."""
  recognisers: list[Witness] = []
  predictors: list[Witness] = []
  for phase in phases:
    frozen = {name: states[name] for name in phase.needs}
    for kind, found in (("embed", recognisers), ("attributes", predictors)):
      predict = getattr(phase.method.outputs, kind)
      if predict:
        name = f"{phase.name.upper()} of the loss"
        state = states[phase.name]
        found.append(setting.witness(name, predict, state, frozen, True))
  return recognisers, predictors


def evaluate(
  setting: Setting,
  mechanisms: Mapping[str, Protect],
  recognisers: list[Witness],
  predictors: list[Witness],
) -> tuple[dict, list]:
  """Attacks the first mechanism in full and compares the others with it.

  Args:
    setting: people and options.
    mechanisms: name -> Protect, the one under test first.
    recognisers: the mechanism's own.
    predictors: the mechanism's own.

  Returns:
    (sections identification, attributes, outputs, similarity and timing of
    `jaxpriv.reports.results`, image strips).
  """
  options = setting.config.evaluation
  begun = time.monotonic()
  reidentification.enrol(setting.test.identities)  # fails before work starts
  results: dict[str, Any] = {
      "identification": [], "attributes": [], "outputs": [], "similarity": [],
  }  # fmt: skip
  independent, independent_state = independent_recogniser(setting)
  recognisers = [*recognisers, independent]
  originals = {w.name: w.read(setting.test) for w in recognisers}
  read_originally = {w.name: _scores(w, setting.test) for w in predictors}
  identities = setting.test.identities
  main = next(iter(mechanisms))
  for witness in recognisers:
    row = reidentification.undisguised(originals[witness.name], identities)
    results["identification"].append(_labelled(main, witness, row))
  fresh_originals: dict[str, dict] = {}
  strips = []
  for name, protect in mechanisms.items():
    logging.info("attacking %s", name)
    shown = setting.test.showing(protect(setting.test))
    for witness in recognisers:
      rows = reidentification.attacks(
        originals[witness.name], witness.read(shown), identities
      )
      results["identification"] += [_labelled(name, witness, r) for r in rows]
    results["outputs"].append(_distinct(name, shown))
    results["similarity"].append(_similarity(name, setting.test, shown))
    for witness in predictors:
      rows = attribute_inference.rows(
        witness.name, _scores(witness, shown), read_originally[witness.name]
      )
      results["attributes"] += [{"mechanism": name, **row} for row in rows]
    if name == main:
      strips = _strips(recognisers[0], setting.test, shown)
    if name == main or name in options.attack_in_full:
      known = setting.attackers.showing(protect(setting.attackers))
      row = _parrot(setting, name, known, shown, independent_state)
      results["identification"].append(row)
      results["attributes"] += _fresh_rows(
        setting, name, known, shown, fresh_originals
      )
  results["timing"] = {"evaluation_seconds": time.monotonic() - begun}
  return results, strips


def _labelled(mechanism: str, witness: Witness, row: dict) -> dict:
  return {
    "mechanism": mechanism,
    "recogniser": witness.name,
    "used_in_loss": witness.used_in_loss,
    **row,
  }


def _recogniser_phase(setting: Setting, name: str, options: ConfigDict):
  evaluation = setting.config.evaluation
  people = len(np.unique(setting.attackers.identities))
  return reidentification.recogniser(
    name, evaluation.recogniser, evaluation.head, options, people
  )


def _recogniser_settings(setting: Setting) -> ConfigDict:
  evaluation = setting.config.evaluation
  return ConfigDict(dict(network=evaluation.recogniser, head=evaluation.head))


def independent_recogniser(setting: Setting) -> tuple[Witness, Any]:
  """A recogniser of another architecture, never used in any loss."""
  options = setting.config.evaluation.phases.recogniser
  phase = _recogniser_phase(setting, "recogniser", options)
  network = _recogniser_settings(setting)
  state = setting.train(phase, setting.attackers, options, network)
  name = f"independent {setting.config.evaluation.recogniser.architecture}"
  return setting.witness(name, phase.method.outputs.embed, state), state


def _parrot(setting, mechanism, known, shown, independent_state) -> dict:
  """A recogniser that goes on to learn from protected images of attackers."""
  options = setting.config.evaluation.phases.parrot
  phase = _recogniser_phase(setting, f"parrot_{mechanism}", options)

  network = _recogniser_settings(setting)
  # It knows undisguised faces already, which is a stronger attacker.
  state = setting.train(phase, known, options, network, independent_state)
  witness = setting.witness(
    f"{setting.config.evaluation.recogniser.architecture} trained on"
    " protected images",
    phase.method.outputs.embed,
    state,
  )
  row = reidentification.parrot(witness.read(shown), setting.test.identities)
  row = _labelled(mechanism, witness, row)
  name = f"independent {setting.config.evaluation.recogniser.architecture}"
  return {**row, "reference": name}


def _fresh_rows(setting, mechanism, known, shown, originals: dict):
  """Rows of predictors that no mechanism has seen; fills `originals` once."""
  rows: list[dict] = []
  if not known.attribute_names:
    return rows
  for name in setting.config.evaluation.predictors:
    if name not in originals:
      witness = fresh_predictor(setting, name, "originals", setting.attackers)
      originals[name] = _scores(witness, setting.test)
    released = _scores(fresh_predictor(setting, name, mechanism, known), shown)
    label = f"fresh {name.upper()}"
    for row in attribute_inference.rows(label, released, originals[name]):
      rows.append({"mechanism": mechanism, **row})
  return rows


def fresh_predictor(
  setting: Setting, name: str, of: str, known: Photographs
) -> Witness:
  """A predictor of attributes that no mechanism has seen.

  Args:
    setting: people and options.
    name: of the predictor, among config.evaluation.predictors.
    of: names what the images of `known` are.
    known: what it learns from.
  """
  options = setting.config.evaluation.phases[name]
  network = setting.config.evaluation.predictors[name]
  phase = attribute_inference.predictor(
    f"{name}_{of}", network, options, len(known.attribute_names)
  )
  state = setting.train(phase, known, options, network)
  return setting.witness(name, phase.method.outputs.attributes, state)


def _scores(witness: Witness, photographs: Photographs):
  return attribute_inference.score(
    witness.read(photographs),
    photographs.arrays["attributes"],
    photographs.attribute_names,
  )


def _distinct(mechanism: str, shown: Photographs) -> dict:
  images = shown.arrays["image"]
  return {
    "mechanism": mechanism,
    "distinct": image_metrics.distinct_outputs(images),
    "total": len(images),
    "tolerance": 0,
  }


def _similarity(mechanism, test: Photographs, shown: Photographs) -> dict:
  a, b = (p.arrays["image"].astype(np.float32) / 255 for p in (test, shown))
  parts = range(0, len(a), 256)
  mean = lambda metric: float(
      np.mean(np.concatenate([
          np.asarray(metric(a[i : i + 256], b[i : i + 256])) for i in parts
      ]))
  )  # fmt: skip
  ssim = jax.jit(image_metrics.ssim)
  psnr = jax.jit(image_metrics.psnr)
  return {"mechanism": mechanism, "ssim": mean(ssim), "psnr": mean(psnr)}


def _strips(witness, test, shown, count: int = 12) -> list:
  """Original, protected, and what the naive attacker takes it for."""
  probes, match = reidentification.nearest_gallery(
    witness.read(test), witness.read(shown), test.identities
  )
  identities = test.identities
  chosen = np.linspace(0, len(probes) - 1, min(count, len(probes))).astype(int)
  strips = []
  for i in chosen:
    right = identities[probes[i]] == identities[match[i]]
    strips.append(
      {
        "images": [
          test.arrays["image"][probes[i]],
          shown.arrays["image"][probes[i]],
          test.arrays["image"][match[i]],
        ],
        "captions": [
          "original",
          "protected",
          "identified" if right else "taken for another person",
        ],
      }
    )
  return strips
