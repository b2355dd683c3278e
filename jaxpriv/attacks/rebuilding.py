"""Attackers that rebuild photographs from features: A0 to A6.

Each is (scene, whether its target is the mechanism of the run) -> rows of
reconstructions, and the images of those `Scene.picked` for the strips.
"""

from collections.abc import Callable

import numpy as np
from absl import logging

from jaxpriv.attacks import inversion
from jaxpriv.attacks.learning import Photographs
from jaxpriv.attacks.scene import Scene, Target, finite, fitted, half, plain


def _unseen(scene: Scene, main: bool):
  """A0: R0, and inverters of clean features that the module has not met."""
  target = scene.target
  phase = next(p for p in target.phases if p.method.outputs.reconstruct)
  released = scene.test.arrays["features"]
  images = scene.reconstruct(phase, target.states[phase.name], released)
  rows = [scene.row("A0 R0", images)]
  same = scene.inverter("clean")
  again = scene.reconstruct(same, scene.clean, released)
  rows.append(scene.row("A0 R0 trained anew", again))
  known = scene.known.having(features=scene.known.arrays["clean"])
  variants = list(inversion.VARIANTS.items())[: scene.options.unseen]
  longer = scene.longer(len(known))
  for name, changes in variants if main else ():
    variant = scene.inverter(name.split(",")[0], options=longer, **changes)
    state = scene.train(variant, known, longer)
    rows.append(
      scene.row(f"A0 {name}", scene.reconstruct(variant, state, released))
    )
  return rows, {"by R0": scene.picked(images)}


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
    images[_by(pairs)] = scene.picked(mapped)
    if pairs < scene.options.fewest_pairs:
      continue
    longer = scene.longer(pairs)
    phase = scene.inverter(f"known_{pairs}", options=longer)
    state = scene.train(phase, known, longer)
    learned = scene.reconstruct(phase, state, released)
    rows.append(scene.row("A1 inverter", learned, pairs))
    if rows[-1]["ssim"] > rows[-2]["ssim"]:
      images[_by(pairs)] = scene.picked(learned)
  names = list(images)
  shown = {names[0], names[len(names) // 2], names[-1]}
  return rows, {name: images[name] for name in names if name in shown}


def _by(pairs: int) -> str:
  return "by 1 pair" if pairs == 1 else f"by {pairs:,} pairs"


def _release(target: Target, frozen) -> Callable:
  """(batch) -> P(f(x)), of states that are passed as frozen["target"]."""
  held = frozen["target"]
  last = target.last
  return lambda batch: last.method.outputs.features(
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
  rows = [scene.row("A2 chosen photographs", images)]
  return rows, {"A2": scene.picked(images)}


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
      plain(scene.known),
      options.phases.module,
      scene.setting.config.model,
      frozen=target.frozen(target.last),
      renumber=False,  # by these numbers D knows people, if these are the task
    )
    made.append((phase, state))
  images = _through(scene, "modules", made)
  name = f"A3 {len(made)} modules of its own"
  return [scene.row(name, images)], {"A3": scene.picked(images)}


def _colluders(scene: Scene, main: bool):
  """A4: as A3, with modules that other entities have trained."""
  made = list(scene.target.colluders)
  if not made:
    return [], {}
  images = _through(scene, "colluders", made)
  name = f"A4 modules of {len(made)} others"
  return [scene.row(name, images)], {"A4": scene.picked(images)}


def _through(scene: Scene, name: str, modules: list[tuple]) -> np.ndarray:
  """What an inverter of several modules makes of one that it has not met."""
  target = scene.target
  # Each with its share of the photographs: no more of them for more modules.
  parts = []
  for i, (phase, state) in enumerate(modules):
    part = scene.known.part(slice(i, None, len(modules)))
    features = scene.apply(
      phase.method.outputs.features,
      state,
      part,
      target.frozen(target.last),
      finish=fitted,
    )
    parts.append(plain(part).having(features=features))
  arrays = {
    field: np.concatenate([part.arrays[field] for part in parts])
    for field in parts[0].arrays
  }
  longer = scene.longer(len(scene.known))
  phase = scene.inverter(name, options=longer)
  known = Photographs(arrays, parts[0].attribute_names)
  state = scene.train(phase, known, longer)
  return scene.reconstruct(phase, state, scene.test.arrays["features"])


def _unpaired(scene: Scene, main: bool):
  """A5: released features of some people beside photographs of others."""
  target = scene.target
  clean, last = target.phases[0], target.last

  def decide(z, images, frozen):
    held = frozen["target"]
    batch = {"features": z, "image": images}
    needed = {name: held[name] for name in last.needs}
    return last.method.outputs.logits(held[last.name], needed, batch)

  def featurize(images, frozen):
    held = frozen["target"]
    return clean.method.outputs.clean_features(
      held[clean.name], {}, {"image": images}
    )

  features = scene.known.arrays["features"]
  middle = len(features) // 2
  longer = scene.longer(middle)
  phase = inversion.aligner(f"aligner_{target.name}", longer, decide, featurize)
  known = scene.known.part(slice(0, middle)).having(features=features[-middle:])
  held = {"target": dict(target.states)}
  state = scene.train(phase, known, longer, frozen=held)
  aligned = scene.apply(
    phase.method.outputs.align, state, scene.test, finish=fitted
  )
  images = scene.reconstruct(scene.inverter("clean"), scene.clean, aligned)
  return [scene.row("A5 unpaired", images)], {"A5": scene.picked(images)}


TRIED = 16  # photographs of its own, by which A6 chooses how to search


def _white_box(scene: Scene, main: bool):
  """A6: for some of the test people, as it is slow."""
  target, count = scene.target, scene.options.searched
  if not count:
    return [], {}
  rows = _spread(scene.test.identities, count, scene.setting.config.seed)
  smaller = scene.part(rows)
  few = smaller.test
  last, model = target.last, scene.setting.config.model

  def release(states, images, code):
    needed = {name: states[name] for name in last.needs}
    return last.method.outputs.features_given_code(
      states[last.name], needed, {"image": images, "code": code}
    )

  # Whoever has the module makes pairs, with keys of their own; of more than
  # these least squares gain nothing. Some are left out, to choose by.
  some = scene.known.part(slice(0, 1024))
  tried = min(TRIED, len(some) // 2)
  pairs = some.arrays["features"]
  if target.again is not None:
    pairs = scene.apply(
      target.again.method.outputs.features,
      target.states[target.again.name],
      plain(some),
      target.frozen(target.again),
      finish=half,
    )
  unmix = inversion.least_squares(pairs[tried:], some.arrays["clean"][tried:])

  def begin(part, features):
    invert = scene.inverter("clean").method.outputs.reconstruct
    shown = part.having(features=unmix(features))
    return finite(scene.apply(invert, scene.clean, shown), "A6, at first")

  def search(start, features, smoothness):
    code = model.dpm.code if model.module == "dpm" else 0
    return inversion.search(
      release, dict(target.states), features, start, code, smoothness
    )

  own = some.part(slice(0, tried))
  smoothness = inversion.smoothest(
    search, own.arrays["image"], pairs[:tried], begin(own, pairs[:tried])
  )
  logging.info("%s, A6: smoothness %s", target.name, smoothness)
  features = few.arrays["features"]
  found = begin(few, features)
  if smoothness is not None:
    found = search(found, features, smoothness)
  return [smaller.row("A6 leaked module", finite(found, "A6"))], {}


def _spread(identities: np.ndarray, count: int, seed: int) -> np.ndarray:
  """About `count` rows: two photographs of as many people as that is."""
  people, counts = np.unique(identities, return_counts=True)
  people = np.random.default_rng(seed).permutation(people[counts > 1])
  rows = []
  for person in people[: max(count // 2, 2)]:
    rows.extend(np.flatnonzero(identities == person)[:2].tolist())
  return np.sort(np.array(rows))


REBUILD = {
  "A0": _unseen,
  "A1": _known_pairs,
  "A2": _chosen,
  "A3": _modules,
  "A4": _colluders,
  "A5": _unpaired,
  "A6": _white_box,
}
