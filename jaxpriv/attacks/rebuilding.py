"""Attackers that rebuild photographs from features: A0 to A6.

Each is (scene, whether its target is the mechanism of the run) -> rows of
reconstructions, and images of the test photographs for the strips.
"""

from collections.abc import Callable

import numpy as np

from jaxpriv.attacks import inversion
from jaxpriv.attacks.learning import Photographs
from jaxpriv.attacks.scene import Scene, Target, half, plain


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
      plain(scene.known),
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
  last, model = target.last, scene.setting.config.model

  def release(states, images, code):
    needed = {name: states[name] for name in last.needs}
    return last.method.predict["supposed"](
      states[last.name], needed, {"image": images, "code": code}
    )

  found = inversion.search(
    release,
    dict(target.states),
    few.arrays["features"],
    (scene.known.arrays["image"].mean(0) / 255).astype(np.float32),
    model.dpm.code if model.module == "dpm" else 0,
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


REBUILD = {
  "A0": _unseen,
  "A1": _known_pairs,
  "A2": _chosen,
  "A3": _modules,
  "A4": _colluders,
  "A5": _unpaired,
  "A6": _white_box,
}
