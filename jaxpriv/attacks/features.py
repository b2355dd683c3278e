"""Everything that is measured of a mechanism that releases features.

Attackers learn on people of config.evaluation.attacker_splits and are scored on
people of the test split. What each of them knows stands in KNOWLEDGE.
"""

import time
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
from jaxpriv.data.records import DataError
from jaxpriv.data.sources import words
from jaxpriv.models.heads import AttributePredictor
from jaxpriv.models.poisoning import FeatureNet
from jaxpriv.training import tasks
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
    phases: of its method: the first has predict["features"] (clean), one has
      "reconstruct", the last "features" and "logits".
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


class Scene(NamedTuple):
  """What the attacks on one target share.

  Attributes:
    setting: people and options.
    target: under attack.
    test: photographs with their released "features" and "clean" ones.
    known: those of the attackers, likewise.
    clean: the state of an inverter of clean features.
    recogniser: independent of all.
    originals: its embeddings of the test photographs.
    undisguised: its row on them.
  """

  setting: Setting
  target: Target
  test: Photographs
  known: Photographs
  clean: Any
  recogniser: Witness
  originals: np.ndarray
  undisguised: dict

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

  def longer(self, pairs: int, **changes: Any) -> ConfigDict:
    """Options of an inverter that sees each of its pairs twice at least."""
    options = self.options.phases.inverter.copy_and_resolve_references()
    options.steps = max(options.steps, 2 * pairs // options.batch_size)
    options.update(changes)
    return options

  def train(self, phase, photographs, options=None, **arguments) -> Any:
    kept = ("image", "identity", "attributes", "features")
    arrays = {k: v for k, v in photographs.arrays.items() if k in kept}
    photographs = learning.Photographs(arrays, photographs.attribute_names)
    options = options or self.options.phases.inverter
    model = self.setting.config.model
    return self.setting.train(phase, photographs, options, model, **arguments)

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
    return self.apply(phase.method.predict["reconstruct"], state, shown)

  def row(self, attack: str, images: np.ndarray, pairs: int | None = None):
    """A row of reconstructions, float32 [N, S, S, 3]."""
    key = attack if attack in KNOWLEDGE else attack.split()[0]
    likeness = inversion.likeness(
      self.test.arrays["image"], images, self.test.identities
    )
    seen = self.recogniser.read(self.test.showing(evaluation.released(images)))
    naive = reidentification.attacks(
      self.originals, seen, self.test.identities
    )[0]
    made = {
      "mechanism": self.target.name,
      "attack": attack,
      "knowledge": KNOWLEDGE[key],
      "pairs": pairs,
      **likeness,
      "hits": naive["hits"],
      "identified_of": naive["total"],
      **{name: naive[name] for name in ("rate", "low", "high", "chance")},
      "undisguised": self.undisguised["rate"],
    }
    logging.info(
        "%s, %s%s: SSIM %.3f, aligned %.3f, rank-1 %.1f%%", self.target.name,
        attack, "" if pairs is None else f", {pairs} pairs", made["ssim"],
        made["aligned_ssim"], 100 * made["rate"],
    )  # fmt: skip
    return made


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


def evaluate(setting: Setting, targets: list[Target]) -> tuple[dict, list]:
  """Attacks the first target in full and compares the others with it.

  Args:
    setting: people and options.
    targets: mechanisms on the features of one featurizer.

  Returns:
    (sections attributes, reconstruction, leakage, curves and timing of
    `jaxpriv.reports.results`, image strips).
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
  independent, _ = evaluation.independent_recogniser(setting)
  originals = independent.read(setting.test)
  undisguised = reidentification.undisguised(originals, setting.test.identities)
  results: dict[str, Any] = {
    "identification": [
      {
        "mechanism": targets[0].name,
        "recogniser": independent.name,
        "used_in_loss": False,
        **undisguised,
      }
    ],
    "attributes": [],
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
      setting,
      target,
      shown_by(test),
      shown_by(known),
      clean,
      independent,
      originals,
      undisguised,
    )
    shown = {"original": setting.test.arrays["image"]}
    if main:
      scene, bounds, images = _bounds(scene)
      clean = scene.clean
      results["reconstruction"] += bounds
      shown |= images
    results["attributes"] += _utility(scene)
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
        results["leakage"] += READ[name](scene)
    if main:
      strips = _strips(shown)
  results["timing"] = {"evaluation_seconds": time.monotonic() - begun}
  return results, strips


def _features(setting, target, phase, photographs) -> np.ndarray:
  """What the "features" of a phase of a target makes of photographs."""
  return learning.apply(
    phase.method.predict["features"],
    target.states[phase.name],
    target.frozen(phase),
    photographs,
    setting.mesh,
    setting.config.evaluation.batch_size,
    finish=half,
  )


def _bounds(scene: Scene):
  """The scene with an inverter of clean features; rows of what bounds all."""
  phase = scene.inverter("clean")
  known = scene.known.having(features=scene.known.arrays["clean"])
  scene = scene._replace(clean=scene.train(phase, known))
  clean = scene.reconstruct(phase, scene.clean, scene.test.arrays["clean"])
  photographs = scene.test.arrays["image"].astype(np.float32) / 255
  mean = scene.known.arrays["image"].mean(0, dtype=np.float64) / 255
  mean = np.broadcast_to(mean.astype(np.float32), photographs.shape)
  other = photographs[_strangers(scene.test.identities)]
  rows = [
    scene.row(CLEAN, clean), scene.row(MEAN, mean), scene.row(OTHER, other),
  ]  # fmt: skip
  return scene, rows, {"from clean features": clean}


def _strangers(identities: np.ndarray) -> np.ndarray:
  """For each row another one, of somebody else."""
  order = np.argsort(identities, kind="stable")
  largest = np.unique(identities, return_counts=True)[1].max()
  other = np.empty(len(order), int)
  other[order] = np.roll(order, -largest)
  return other


def _utility(scene: Scene) -> list[dict]:
  """Rows of D on released features, beside clean ones."""
  target = scene.target
  task = target.task(scene.test)
  labels = np.stack(list(task.values()), axis=1)
  read = {}
  for field in ("clean", "features"):
    shown = scene.test.having(features=scene.test.arrays[field])
    logits = scene.apply(
      target.last.method.predict["logits"],
      target.states[target.last.name],
      shown,
      target.frozen(target.last),
    )
    read[field] = attribute_inference.score(
      logits.argmax(-1), labels, tuple(task)
    )
  rows = attribute_inference.rows("decider", read["features"], read["clean"])
  return [{"mechanism": target.name, **row} for row in rows]


def _unseen(scene: Scene, main: bool):
  """A0: R0, and inverters of clean features that the module has not met."""
  target = scene.target
  phase = next(p for p in target.phases if "reconstruct" in p.method.predict)
  released = scene.test.arrays["features"]
  images = scene.reconstruct(phase, target.states[phase.name], released)
  rows = [scene.row("A0 R0", images)]
  same = scene.inverter("clean")
  again = scene.reconstruct(same, scene.clean, released)
  rows.append(scene.row("A0 R0 trained anew", again))
  known = scene.known.having(features=scene.known.arrays["clean"])
  variants = list(inversion.VARIANTS.items())[: scene.options.unseen]
  for name, changes in variants if main else ():
    variant = scene.inverter(name.split(",")[0], **changes)
    state = scene.train(variant, known)
    rows.append(
      scene.row(f"A0 {name}", scene.reconstruct(variant, state, released))
    )
  return rows, {"by R0": images}


def _known_pairs(scene: Scene, main: bool):
  """A1: rows for each number of pairs, by both ways."""
  rng = np.random.default_rng(scene.setting.config.seed)
  order = rng.permutation(len(scene.known))
  released = scene.test.arrays["features"]
  rows: list[dict] = []
  images: dict[str, np.ndarray] = {}
  invert = scene.inverter("clean")
  numbers = sorted({min(n, len(order)) for n in scene.options.pairs})
  for pairs in numbers if main else numbers[-1:]:
    known = scene.known.part(np.sort(order[:pairs]))
    unmix = inversion.least_squares(
      known.arrays["features"], known.arrays["clean"]
    )
    mapped = scene.reconstruct(invert, scene.clean, unmix(released))
    rows.append(scene.row("A1 least squares", mapped, pairs))
    images[f"by {pairs:,} pairs"] = mapped
    if pairs < scene.options.fewest_pairs:
      continue
    longer = scene.longer(pairs)
    phase = scene.inverter(f"known_{pairs}", options=longer)
    state = scene.train(phase, known, longer)
    learned = scene.reconstruct(phase, state, released)
    rows.append(scene.row("A1 inverter", learned, pairs))
    if rows[-1]["ssim"] > rows[-2]["ssim"]:
      images[f"by {pairs:,} pairs"] = learned
  names = list(images)
  shown = {names[0], names[len(names) // 2], names[-1]}
  return rows, {name: images[name] for name in names if name in shown}


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


def _release(target: Target, frozen) -> Callable:
  """(batch) -> P(f(x)), of states that are passed as frozen["target"]."""
  held = frozen["target"]
  last = target.last
  return lambda batch: last.method.predict["features"](
    held[last.name], {name: held[name] for name in last.needs}, batch
  )


def _chosen(scene: Scene, main: bool):
  """A2: as many photographs poisoned as training can use, each time another."""
  target = scene.target
  # Mirrored, which are as many photographs again.
  longer = scene.longer(len(scene.known), augment=True)
  phase = scene.inverter(
    "chosen",
    options=longer,
    features=lambda batch, frozen: _release(target, frozen)(batch),
  )
  held = {"target": dict(target.states)}
  state = scene.train(phase, scene.known, longer, frozen=held)
  released = scene.test.arrays["features"]
  images = scene.reconstruct(phase, state, released)
  return [scene.row("A2 chosen photographs", images)], {"A2": images}


def _modules(scene: Scene, main: bool):
  """A3: inverters of modules that the attacker trains as the owner did."""
  target, options = scene.target, scene.options
  if target.modules is None or not options.modules:
    return [], {}
  made = []
  for seed in range(options.modules):
    phase = target.modules(seed)
    state = scene.setting.train(
      phase,
      _plain(scene.known),
      options.phases.module,
      scene.setting.config.model,
      frozen=target.frozen(target.last),
    )
    made.append((phase, state))
  images = _through(scene, "modules", made)
  name = f"A3 {len(made)} modules of its own"
  return [scene.row(name, images)], {"A3": images}


def _colluders(scene: Scene, main: bool):
  """A4: as A3, with modules that other entities have trained."""
  made = list(scene.target.colluders)
  if not made:
    return [], {}
  images = _through(scene, "colluders", made)
  name = f"A4 modules of {len(made)} others"
  return [scene.row(name, images)], {"A4": images}


def _through(scene: Scene, name: str, modules: list[tuple]) -> np.ndarray:
  """What an inverter of several modules makes of one that it has not met."""
  target = scene.target
  # Each with its share of the photographs: no more of them for more modules.
  parts = []
  for i, (phase, state) in enumerate(modules):
    part = scene.known.part(slice(i, None, len(modules)))
    features = scene.apply(
      phase.method.predict["features"],
      state,
      part,
      target.frozen(target.last),
      finish=half,
    )
    parts.append(part.having(features=features))
  arrays = {
    field: np.concatenate([part.arrays[field] for part in parts])
    for field in parts[0].arrays
  }
  phase = scene.inverter(name)
  state = scene.train(phase, Photographs(arrays, parts[0].attribute_names))
  return scene.reconstruct(phase, state, scene.test.arrays["features"])


def _plain(photographs: Photographs) -> Photographs:
  arrays = {
    name: value
    for name, value in photographs.arrays.items()
    if name not in ("features", "clean")
  }
  return Photographs(arrays, photographs.attribute_names)


def _unpaired(scene: Scene, main: bool):
  """A5: released features of some people beside photographs of others."""
  target = scene.target
  clean, last = target.phases[0], target.last

  def decide(z, images, frozen):
    held = frozen["target"]
    batch = {"features": z, "image": images}
    needed = {name: held[name] for name in last.needs}
    return last.method.predict["logits"](held[last.name], needed, batch)

  def featurize(images, frozen):
    held = frozen["target"]
    return clean.method.predict["features"](
      held[clean.name], {}, {"image": images}
    )

  phase = inversion.aligner(
    f"aligner_{target.name}", scene.options.phases.inverter, decide, featurize
  )
  features = scene.known.arrays["features"]
  middle = len(features) // 2
  known = scene.known.part(slice(0, middle)).having(features=features[-middle:])
  state = scene.train(phase, known, frozen={"target": dict(target.states)})
  aligned = scene.apply(
    phase.method.predict["align"], state, scene.test, finish=half
  )
  images = scene.reconstruct(scene.inverter("clean"), scene.clean, aligned)
  return [scene.row("A5 unpaired", images)], {"A5": images}


def _white_box(scene: Scene, main: bool):
  """A6: for the first photographs of the test people, as it is slow."""
  target, count = scene.target, scene.options.searched
  if not count:
    return [], {}
  few = scene.test.part(_spread(scene.test.identities, count))
  release = _release(target, {"target": dict(target.states)})
  found = inversion.search(
    lambda images: release({"image": images}),
    few.arrays["features"],
    (scene.known.arrays["image"].mean(0) / 255).astype(np.float32),
  )
  smaller = scene._replace(test=few, originals=scene.recogniser.read(few))
  row = smaller.row("A6 leaked module", found)
  return [row], {}


def _spread(identities: np.ndarray, count: int) -> np.ndarray:
  """About `count` rows: two photographs of as many people as that is."""
  people, counts = np.unique(identities, return_counts=True)
  people = people[counts > 1]
  rows = []
  for person in people[: max(count // 2, 2)]:
    rows.extend(np.flatnonzero(identities == person)[:2].tolist())
  return np.sort(np.array(rows))


def _probes(scene: Scene) -> list[dict]:
  """A7: hidden attributes and identity, read from features."""
  names = scene.test.attribute_names
  hidden = [name for name in names if name not in scene.target.kept]
  columns = [names.index(name) for name in hidden]
  labels = scene.test.arrays["attributes"][:, columns]
  rows = []
  for kind, units in (("linear", 0), ("MLP", 64)):
    options = scene.options.phases.probe
    read: dict[str, dict] = {}
    for field in ("clean", "features"):
      known, shown = (
        _plain(part).having(
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
        said = scene.apply(phase.method.predict["attributes"], state, shown)
        found = {
          name: dict(accuracy._asdict(), chance=accuracy.majority)
          for name, accuracy in attribute_inference.score(
            said, labels, tuple(hidden)
          ).items()
        }
      if units:
        found["identity"] = _identity(scene, field, known, shown, units)
      read[field] = found
    for name, row in read["features"].items():
      rows.append(
        {
          "mechanism": scene.target.name,
          "attack": f"A7 {kind} probe",
          "what": name,
          **_figures(row),
          "original": read["clean"][name]["rate"],
        }
      )
  return rows


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
  )
  network = ConfigDict(
    dict(model=scene.setting.config.model, head=scene.options.head)
  )
  state = scene.setting.train(phase, known, options, network)
  seen = scene.apply(phase.method.predict["embed"], state, shown)
  return reidentification.parrot(seen, shown.identities)


def _figures(row: Mapping[str, Any]) -> dict:
  names = ("hits", "total", "rate", "low", "high", "chance")
  return {name: row[name] for name in names}


def _links(scene: Scene) -> list[dict]:
  """A8: the same photograph released twice, and found by its clean features."""
  few = slice(0, scene.options.linked)
  released = scene.test.arrays["features"][few]
  rows = [("A8 released twice", released)]
  if scene.target.again is not None:
    phase = scene.target.again
    again = scene.apply(
      phase.method.predict["features"],
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
  return made


# (scene, whether it is the mechanism of the run) -> rows, images.
REBUILD = {
  "A0": _unseen,
  "A1": _known_pairs,
  "A2": _chosen,
  "A3": _modules,
  "A4": _colluders,
  "A5": _unpaired,
  "A6": _white_box,
}
READ = {"A7": _probes, "A8": _links}


def _strips(shown: dict[str, np.ndarray], count: int = 10) -> list:
  rows = np.linspace(0, len(shown["original"]) - 1, count).astype(int)
  full = {k: v for k, v in shown.items() if len(v) == len(shown["original"])}
  return [
    {
      "images": [
        v[i] if v.dtype == np.uint8 else evaluation.released(v[i : i + 1])[0]
        for v in full.values()
      ],
      "captions": list(full),
    }
    for i in rows
  ]
