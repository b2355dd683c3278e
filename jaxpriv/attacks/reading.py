"""Attackers that read features without an image: A7 and A8.

Each is (scene) -> rows of what is learned, by section of the results.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxpriv.attacks import attribute_inference, inversion, reidentification
from jaxpriv.attacks.scene import Scene, half, plain
from jaxpriv.models.heads import AttributePredictor
from jaxpriv.models.poisoning import FeatureNet
from jaxpriv.training import tasks


def _probes(scene: Scene) -> dict[str, list[dict]]:
  """A7: hidden attributes and identity, read from features."""
  names = scene.test.attribute_names
  hidden = [name for name in names if name not in scene.target.kept]
  columns = [names.index(name) for name in hidden]
  labels = scene.test.arrays["attributes"][:, columns]
  rows, precision = [], []
  for kind, units in (("linear", 0), ("MLP", 64)):
    attack = f"A7 {kind} probe"
    options = scene.options.phases.probe
    read: dict[str, dict] = {}
    logits: dict[str, np.ndarray] = {}
    for field in ("clean", "features"):
      known, shown = (
        plain(part).having(
          image=part.arrays[field],
          attributes=part.arrays["attributes"][:, columns],
        )
        for part in (scene.known, scene.test)
      )
      found: dict[str, Any] = {}
      if hidden:
        phase = tasks.attribute_prediction(
          f"probe_{kind}_{field}_{scene.target.name}",
          AttributePredictor(FeatureNet(128, units), len(hidden)),
          options,
        )
        state = scene.setting.train(
          phase, known, options, scene.setting.config.model
        )
        said = scene.apply(phase.method.outputs.logits, state, shown)
        logits[field] = said
        found = {
          name: dict(accuracy._asdict(), chance=accuracy.majority)
          for name, accuracy in attribute_inference.score(
            said.argmax(-1), labels, tuple(hidden)
          ).items()
        }
      if units:
        found["identity"] = _identity(scene, field, known, shown, units)
      read[field] = found
    for name, row in read["features"].items():
      rows.append(
        {
          "mechanism": scene.target.name,
          "attack": attack,
          "what": name,
          **_figures(row),
          "original": read["clean"][name]["rate"],
        }
      )
    precision += scene.precision(attack, "hidden", logits, labels)
  return {"leakage": rows, "precision": precision}


def _identity(scene, field, known, shown, units) -> dict:
  """Rank-1 of a recogniser of features, on other photographs of people."""
  options = scene.options.phases.recogniser.copy_and_resolve_references()
  options.augment = False  # which is for photographs
  phase = tasks.recognition(
    f"identity_{field}_{scene.target.name}",
    FeatureNet(128, units),
    len(np.unique(known.identities)),
    options,
    head=scene.options.head,
    mirrored=False,
  )
  network = ConfigDict(
    dict(model=scene.setting.config.model, head=scene.options.head)
  )
  state = scene.setting.train(phase, known, options, network)
  seen = scene.apply(phase.method.outputs.embed, state, shown)
  return reidentification.parrot(seen, shown.identities)


def _figures(row: Mapping[str, Any]) -> dict:
  names = ("hits", "total", "rate", "low", "high", "chance")
  return {name: row[name] for name in names}


def _links(scene: Scene) -> dict[str, list[dict]]:
  """A8: the same photograph released twice, and found by its clean features."""
  few = slice(0, scene.options.linked)
  released = scene.test.arrays["features"][few]
  rows = [("A8 released twice", released)]
  if scene.target.again is not None:
    phase = scene.target.again
    again = scene.apply(
      phase.method.outputs.features,
      scene.target.states[phase.name],
      scene.test.part(few),
      scene.target.frozen(phase),
      finish=half,
    )
    rows.append(("A8 released twice, with another secret", again))
  rows.append(("A8 clean features in hand", scene.test.arrays["clean"][few]))
  made = []
  for attack, gallery in rows:
    found = inversion.linked(gallery, released)
    made.append(
      {
        "mechanism": scene.target.name,
        "attack": attack,
        "what": "link",
        **found._asdict(),
        "chance": 1 / len(released),
        "original": None,
      }
    )
  return {"leakage": made}


READ = {"A7": _probes, "A8": _links}
