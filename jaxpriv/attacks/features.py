"""Everything that is measured of a mechanism that releases features.

Attackers learn on people of config.evaluation.attacker_splits and are scored on
people of the test split. What each of them knows stands in KNOWLEDGE.
"""

import time
from typing import Any

import numpy as np
from absl import logging

from jaxpriv.attacks import (
  attribute_inference,
  evaluation,
  inversion,
  learning,
  reidentification,
)
from jaxpriv.attacks.evaluation import Setting
from jaxpriv.attacks.reading import READ
from jaxpriv.attacks.rebuilding import REBUILD
from jaxpriv.attacks.scene import (
  CLEAN,
  MEAN,
  OTHER,
  Readers,
  Scene,
  Target,
  half,
)
from jaxpriv.data.records import DataError
from jaxpriv.data.sources import words


def evaluate(setting: Setting, targets: list[Target]) -> tuple[dict, list]:
  """Attacks the first target in full and compares the others with it.

  Args:
    setting: people and options.
    targets: mechanisms on the features of one featurizer.

  Returns:
    (sections attributes, precision, reconstruction, leakage, curves and timing
    of `jaxpriv.reports.results`, image strips).
  """
  begun = time.monotonic()
  wanted = words(setting.config.evaluation.attacks)
  unknown = [name for name in wanted if name not in REBUILD | READ]
  if unknown:
    raise DataError(
      f"config.evaluation.attacks names {', '.join(unknown)}: choose of"
      f" {', '.join(REBUILD | READ)}"
    )
  reidentification.enrol(setting.test.identities)  # fails before work starts
  readers = _readers(setting)
  results: dict[str, Any] = {
    "identification": [
      {
        "mechanism": targets[0].name,
        "recogniser": readers.recogniser.name,
        "used_in_loss": False,
        **reidentification.undisguised(
          readers.embeddings, setting.test.identities
        ),
      }
    ],
    "attributes": [],
    "precision": [],
    "reconstruction": [],
    "leakage": [],
    "curves": [],
  }
  strips: list = []
  bounds: list = []
  clean = None
  first = targets[0].phases[0]  # of all: they differ in what comes behind it
  test, known = (
    part.having(clean=_features(setting, targets[0], first, part))
    for part in (setting.test, setting.attackers)
  )
  for target in targets:
    main = target is targets[0]
    logging.info("attacking %s", target.name)
    shown_by = lambda part, target=target: part.having(
      features=_features(setting, target, target.last, part)
    )
    scene = Scene(
      setting, target, shown_by(test), shown_by(known), clean, readers
    )
    shown = {"original": scene.picked(setting.test.arrays["image"])}
    if main:
      scene, bounds, images = _bounds(scene)
      clean = scene.clean
      results["reconstruction"] += bounds
      shown |= images
    _add(results, _utility(scene))
    for name in wanted:
      if not main and name not in ("A0", "A1"):
        continue
      if name in REBUILD:
        rows, images = REBUILD[name](scene, main)
        results["reconstruction"] += rows
        shown |= images
        if name == "A1" and main:
          results["curves"].append(_curve(scene, [*bounds, *rows]))
      else:
        _add(results, READ[name](scene))
    if main:
      strips = _strips(shown)
  results["timing"] = {"evaluation_seconds": time.monotonic() - begun}
  return results, strips


def _readers(setting: Setting) -> Readers:
  recogniser, _ = evaluation.independent_recogniser(setting)
  predictor = attributes = None
  if setting.attackers.attribute_names:
    predictor = evaluation.fresh_predictor(
      setting, "vgg", "originals", setting.attackers
    )
    attributes = predictor.read(setting.test)
  embeddings = recogniser.read(setting.test)
  return Readers(recogniser, embeddings, predictor, attributes)


def _add(results: dict[str, Any], found: dict[str, list]) -> None:
  for section, rows in found.items():
    results[section] += rows


def _features(setting, target, phase, photographs) -> np.ndarray:
  """What the "features" of a phase of a target makes of photographs."""
  return learning.apply(
    phase.method.outputs.features or phase.method.outputs.clean_features,
    target.states[phase.name],
    target.frozen(phase),
    photographs,
    setting.mesh,
    setting.config.evaluation.batch_size,
    finish=half,
  )


def _bounds(scene: Scene):
  """The scene with an inverter of clean features; rows of what bounds all."""
  options = scene.longer(len(scene.known))
  phase = scene.inverter("clean", options=options)
  known = scene.known.having(features=scene.known.arrays["clean"])
  scene = scene._replace(clean=scene.train(phase, known, options))
  clean = scene.reconstruct(phase, scene.clean, scene.test.arrays["clean"])
  photographs = scene.test.arrays["image"].astype(np.float32) / 255
  mean = scene.known.arrays["image"].mean(0, dtype=np.float64) / 255
  mean = np.broadcast_to(mean.astype(np.float32), photographs.shape)
  other = photographs[_strangers(scene.test.identities)]
  rows = [
    scene.row(CLEAN, clean), scene.row(MEAN, mean), scene.row(OTHER, other),
  ]  # fmt: skip
  return scene, rows, {"from clean features": scene.picked(clean)}


def _strangers(identities: np.ndarray) -> np.ndarray:
  """For each row another one, of somebody else."""
  order = np.argsort(identities, kind="stable")
  largest = np.unique(identities, return_counts=True)[1].max()
  other = np.empty(len(order), int)
  other[order] = np.roll(order, -largest)
  return other


def _utility(scene: Scene) -> dict[str, list[dict]]:
  """Rows of D on released features, beside clean ones, by section."""
  target = scene.target
  task = target.task(scene.test)
  labels = np.stack(list(task.values()), axis=1)
  read, logits = {}, {}
  for field in ("clean", "features"):
    shown = scene.test.having(features=scene.test.arrays[field])
    said = scene.apply(
      target.last.method.outputs.logits,
      target.states[target.last.name],
      shown,
      target.frozen(target.last),
    )
    logits[field] = said
    read[field] = attribute_inference.score(
      said.argmax(-1), labels, tuple(task)
    )
  rows = attribute_inference.rows("decider", read["features"], read["clean"])
  made = {"attributes": [{"mechanism": target.name, **row} for row in rows]}
  if target.kept:
    made["precision"] = scene.precision("decider", "kept", logits, labels)
  return made


def _curve(scene: Scene, rows: list[dict]) -> dict:
  """What the better of both ways reaches with each number of pairs."""
  threshold = scene.options.threshold_ssim
  bound = {row["attack"]: row["ssim"] for row in rows if row["pairs"] is None}
  best: dict[int, dict] = {}
  for row in rows:
    pairs = row["pairs"]
    if pairs and row["ssim"] > best.get(pairs, {"ssim": -1.0})["ssim"]:
      best[pairs] = row
  points = [(n, best[n]["ssim"]) for n in sorted(best)]
  return {
    "mechanism": scene.target.name,
    "threshold_ssim": threshold,
    "pairs_needed": inversion.pairs_needed(points, threshold),
    "largest": max(best),
    "points": [
      [n, best[n]["ssim"], best[n]["ssim_low"], best[n]["ssim_high"]]
      for n in sorted(best)
    ],
    "clean": bound[CLEAN],
    "mean": bound[MEAN],
  }


def _strips(shown: dict[str, np.ndarray]) -> list:
  return [
    {"images": list(images), "captions": list(shown)}
    for images in zip(*shown.values(), strict=True)
  ]
