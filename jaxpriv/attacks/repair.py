"""Repair: what is masked, blurred or made of blocks is made visible again.

Whoever has photographs of others beside what would be released of them learns
to turn the latter into the former, with the very mask of the defender where
there is one, for it is public. The repaired images are compared with the
photographs, and recognisers look for the people in them.

| repair | of a mask | of anything else |
|---|---|---|
| closed form | "conditional Gaussian": | "least squares", from pixels to |
| | `privacy.eigenfaces` | components of photographs |
| U-Net | `models.repair`, trained on the hidden pixels | on all pixels |

Pixels that a mask leaves make a large part of the likeness of whole images, so
that of the hidden area is told apart. Without any knowledge of the person one
can show the mean image of others, or fill it in behind a mask: the better of
the two is the floor. Grey images and noise stand beside it.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from jaxpriv.attacks import embedding_map, reidentification, verification
from jaxpriv.attacks.scene import APPEARANCE, finite
from jaxpriv.attacks.threat import People
from jaxpriv.data import memory
from jaxpriv.data.memory import InMemory
from jaxpriv.metrics import finding
from jaxpriv.metrics import image as image_metrics
from jaxpriv.metrics.finding import Finding, Interval
from jaxpriv.metrics.statistics import Mean
from jaxpriv.models.repair import RepairNet
from jaxpriv.privacy import eigenfaces
from jaxpriv.privacy.eigenfaces import Eigenfaces
from jaxpriv.ranges import COUNT, NATURAL
from jaxpriv.training import progress, published, recipes
from jaxpriv.training.mechanism import IMAGE, Target
from jaxpriv.training.method import Outputs, Phase, need

PRODUCTS = (IMAGE,)
RANGES = {"components": COUNT, "widths": COUNT, "rounds": NATURAL}
KNOWS = "photographs of others, and what is released of them"
FITTED = 2000  # photographs from which the closed form is computed
TUNED = 50  # photographs of others by which its noise is chosen
BLOCK = 512  # images that are repaired at once
MEAN = "mean image"
PROTECTED = "protected"  # a caption
JUDGED = ("SSIM", "hidden SSIM")  # PSNR has no figure for a perfect repair
MEASURED = (*JUDGED, "PSNR", "hidden PSNR")
# Weights of mean differences of pixels, of 1 - SSIM, and of 1 - the cosine of
# what the attackers' own recogniser says.
PIXELS, STRUCTURE, IDENTITY = 6.0, 1.0, 0.5


def attack(
  target: Target,
  people: People,
  components: int = 256,
  widths: Sequence[int] = (16, 32, 64),
  rounds: int = 1,
) -> Iterator[Finding]:
  """Repairs what is released of the test people.

  Args:
    target: the mechanism or a control.
    people: the attackers' have photographs beside what is released of them.
    components: of the Gaussian model of photographs.
    widths: of the U-Net, the finest scale first.
    rounds: times that it is applied, which takes large holes; 0: no U-Net.
  """
  released = people.image(target, people.test).arrays
  hidden = ~released["keep"] if "keep" in released else None
  compare = partial(
    image_metrics.likeness,
    people.test.arrays["image"],
    people=people.test.identities,
    hidden=hidden,
  )
  blind = _without_knowledge(people)
  nobody = {name: compare(images) for name, images in blind.items()}
  if not target.control:
    for name, figures in nobody.items():
      yield from _appearance(finding.NOBODY, name, figures)
  floors = nobody[MEAN]
  if hidden is not None:  # what is seen needs no guess, nor do windows near it
    seen = released["keep"][..., None]
    filled = compare(np.where(seen, people.test.arrays["image"], blind[MEAN]))
    better = lambda name: max(floors[name], filled[name], key=lambda m: m.value)
    floors = {name: better(name) for name in floors}
  columns = {PROTECTED: released["image"]}
  for name, images in _repairs(target, people, components, widths, rounds):
    by, figures = f"repair, {name}", compare(images)
    yield from _appearance(target.name, by, figures, floors)
    yield from _recognised(target, people, by, images)
    columns[f"by {name}"] = images
  if not target.control:
    _show(people, columns)


def _appearance(
  subject: str,
  by: str,
  figures: Mapping[str, Mean],
  floors: Mapping[str, Mean] | None = None,
) -> Iterator[Finding]:
  """The likeness of images to photographs; judged if floors are given."""
  measured = {name: figures[name] for name in MEASURED if name in figures}
  logging.info(
    "%s, %s: %s",
    subject,
    by,
    ", ".join(f"{name} {mean.value:.3f}" for name, mean in measured.items()),
  )
  for name, mean in measured.items():
    judged = floors is not None and name in JUDGED
    floor = floors.get(name) if floors else None
    yield finding.of(
      APPEARANCE,
      finding.HIDDEN if judged else finding.TOLD,
      name,
      mean,
      subject=subject,
      by=by,
      floor=floor.value if floor else None,
      ceiling=Interval(1.0, 1.0, 1.0) if judged else None,
      where={"knows": KNOWS if floors else "nothing, or the mean of others"},
    )


def _without_knowledge(people: People) -> dict[str, np.ndarray]:
  """Images uint8 [N, S, S, 3] that show nobody."""

  def make():
    shape = people.test.arrays["image"].shape
    mean = people.known.arrays["image"].mean(0, dtype=np.float64)
    rng = np.random.default_rng(people.config.seed)
    return {
      name: np.broadcast_to(np.asarray(image, np.uint8), shape)
      for name, image in (
        (MEAN, np.round(mean)),
        ("grey", 128),
        ("noise", rng.integers(0, 256, shape[1:])),
      )
    }

  return people.once("images of nobody", make)


def _repairs(
  target: Target,
  people: People,
  components: int,
  widths: Sequence[int],
  rounds: int,
) -> Iterator[tuple[str, np.ndarray]]:
  """(name, test images uint8 [N, S, S, 3]) of each repair."""
  released = people.image(target, people.test)
  masked = "keep" in released.arrays
  name = "conditional Gaussian" if masked else "least squares"
  with progress.slow(f"Repairing {len(released):,} images in closed form"):
    closed_form = _gaussian if masked else _least_squares
    repaired = closed_form(target, people, components)
    images = _in_blocks(released, repaired)
  yield name, images
  if rounds:
    yield "U-Net", _by_network(target, people, widths, rounds)


def _some(people: People, held_out: bool, most: int) -> np.ndarray:
  """Rows of attackers' photographs, of people who are held out or others."""
  identities = people.known.identities
  held = np.isin(identities, np.unique(identities)[:: embedding_map.HELD_OUT])
  rows = np.flatnonzero(held == held_out)
  chosen = np.linspace(0, len(rows) - 1, min(len(rows), most))
  return rows[chosen.astype(int)]


def _faces(people: People, components: int) -> Eigenfaces:
  """The Gaussian model of photographs of all but those who are held out."""
  rows = _some(people, False, FITTED)
  return people.once(
    ("eigenfaces", components),
    lambda: eigenfaces.fit(people.known.arrays["image"][rows], components),
  )


def _gaussian(target: Target, people: People, components: int):
  """The conditional mean, given the pixels that are kept."""
  rows = _some(people, True, TUNED)
  faces = eigenfaces.tuned(
    _faces(people, components),
    people.known.arrays["image"][rows],
    people.image(target, people.known).arrays["keep"][rows],
  )
  logging.info("%s: noise of a pixel %.3g", target.name, faces.noise**0.5)
  return lambda block: eigenfaces.repair(faces, block["image"], block["keep"])


def _in_blocks(photographs: InMemory, repaired) -> np.ndarray:
  parts = (
    published.images(repaired(photographs.batch(np.arange(i, end))))
    for i in range(0, len(photographs), BLOCK)
    for end in [min(i + BLOCK, len(photographs))]
  )
  return memory.gather(parts, len(photographs))


def _least_squares(target: Target, people: People, components: int):
  """A linear map from released pixels to components of photographs."""
  faces = _faces(people, components)
  count = len(people.known)
  rows = np.linspace(0, count - 1, min(count, FITTED)).astype(int)
  known = people.known.take(rows)
  before = people.image(target, people.known).arrays["image"][rows]
  before = embedding_map.small(before)
  linear = embedding_map.ridge(
    before,
    faces.coefficients(known.arrays["image"]),
    known.identities,
    embedding_map.inner_products(before),
  )

  def repaired(block: Mapping[str, np.ndarray]) -> np.ndarray:
    guess = linear(embedding_map.small(block["image"]))
    return np.clip(faces.images(guess), 0, 1)

  return repaired


def network(
  name: str, model: RepairNet, options: ConfigDict, recogniser: Phase
) -> Phase:
  """A U-Net that learns to repair.

  Its batches hold photographs as "image", what is released of them, uint8, as
  "released", and "keep" where there is a mask. Its output "reconstruct" gives
  images in [0, 1].

  Args:
    name: of the phase.
    model: the network.
    options: of the phase.
    recogniser: the attackers' own, whose state is frozen.
  """
  embed = need(recogniser.method.outputs.embed, "embed")
  shown = lambda batch: batch["released"].astype(jnp.float32) / 255

  def loss(apply, batch, frozen):
    photograph, keep = batch["image"], batch.get("keep")
    repaired = apply(shown(batch), keep)
    difference = jnp.abs(repaired - photograph).mean(3)
    area = jnp.ones_like(difference) if keep is None else 1.0 - keep
    total = jnp.maximum(area.sum((1, 2)), 1)
    pixels = (difference * area).sum((1, 2)) / total
    structure = 1 - image_metrics.ssim(photograph, repaired)
    said, right = (
      embed(frozen[recogniser.name], {}, {**batch, "image": images})
      for images in (repaired, photograph)
    )
    lengths = jnp.sum(jnp.square(said), 1) * jnp.sum(jnp.square(right), 1)
    cosine = jnp.sum(said * right, 1) / jnp.sqrt(lengths + 1e-12)
    losses = PIXELS * pixels + STRUCTURE * structure + IDENTITY * (1 - cosine)
    return losses, {"pixels": pixels, "structure": structure, "cosine": cosine}

  def reconstruct(apply, batch, frozen):
    return jnp.clip(apply(shown(batch), batch.get("keep")), 0, 1)

  return recipes.supervised_phase(
    name,
    model,
    loss,
    options,
    needs=(recogniser.name,),
    inputs=lambda batch, frozen: shown(batch),
    outputs=Outputs(reconstruct=reconstruct),
  )


def _by_network(
  target: Target, people: People, widths: Sequence[int], rounds: int
) -> np.ndarray:
  """Test images uint8 [N, S, S, 3], repaired by a U-Net."""
  options = people.options.phases.repair
  recogniser = people.recogniser_phase(
    "recogniser", people.options.phases.recogniser
  )
  frozen = {recogniser.name: people.recogniser_state()}

  def pairs(photographs):
    made = people.image(target, photographs).arrays
    arrays = {
      "identity": photographs.arrays["identity"],
      "image": photographs.arrays["image"],
      "released": made["image"],
    }
    if "keep" in made:
      arrays["keep"] = made["keep"]
    return InMemory(arrays)

  known = pairs(people.known)
  # Without a mask all rounds would be the first one over again.
  times = rounds if "keep" in known.arrays else 1
  settings: dict[str, Any] = dict(
    widths=tuple(widths), rounds=times, dtype=people.config.dtype
  )
  model = RepairNet(**settings)
  phase = network(f"repair_{target.name}", model, options, recogniser)
  state = people.train(
    phase,
    known,
    options,
    ConfigDict(settings),
    frozen=frozen,
  )

  def finish(images):
    return published.images(finite(images, phase.name))

  return people.apply(
    phase.method.outputs.reconstruct,
    state,
    frozen,
    pairs(people.test),
    finish=finish,
  )


def _recognised(
  target: Target, people: People, by: str, images: np.ndarray
) -> Iterator[Finding]:
  """Who is told by repaired images: rank-1, and verification of pairs.

  The gallery of rank-1 has one photograph a person; verification is that of a
  repaired image and another photograph, as in tables of recovery.
  """
  identities = people.test.identities
  repaired = people.test.replace(image=images)
  chosen = verification.drawn(people)
  for reader in [people.recogniser(), *people.witnesses()]:
    originals = people.read(reader)
    plain = reidentification.undisguised(originals, identities)
    embeddings = reader.read(repaired)
    for rank in reidentification.attacks(originals, embeddings, identities):
      if rank.metric != reidentification.RANK:
        continue
      if rank.gallery != reidentification.EVERY:
        yield reidentification.disguised_finding(
          target, rank._replace(attack=f"{by}, {rank.attack}"), reader, plain
        )
    if chosen is not None:
      yield verification.recovered(
        target, reader, by, embeddings, originals, chosen
      )


def _show(people: People, columns: Mapping[str, np.ndarray]) -> None:
  """Adds what was repaired to the strips of the report, or begins them."""
  rows = reidentification.pictured(people.test.identities)
  originals = people.test.arrays["image"][rows]
  begun = people.strips or [{"images": [], "captions": []}] * len(rows)
  if not people.strips:
    columns = {"original": people.test.arrays["image"], **columns}
  elif not np.array_equal([s["images"][0] for s in begun], originals):
    return  # those of another attack, of other photographs
  else:
    columns = {k: v for k, v in columns.items() if k != PROTECTED}
  people.strips = [
    {
      "images": [*strip["images"], *(c[row] for c in columns.values())],
      "captions": [*strip["captions"], *columns],
    }
    for strip, row in zip(begun, rows, strict=True)
  ]
