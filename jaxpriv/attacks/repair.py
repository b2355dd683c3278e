"""Repair: images are given back what a mask, a blur or a mosaic took.

The attacker runs the public mechanism on photographs of its own people, and
learns to undo it: under the same mask, by the same filter. What it rebuilds is
compared with the photographs, and read by recognisers.

| attack | what |
|---|---|
| conditional Gaussian | the likeliest of what is hidden, in closed form |
| least squares | where there is no mask: from released pixels to photographs |
| U-Net | gated convolutions, trained |

Where nothing is known, the hidden pixels are those of the attacker's mean
photograph. That is the floor, beside which "grey" and "noise" are told.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxpriv.attacks import embedding_map, reidentification
from jaxpriv.attacks.threat import People
from jaxpriv.data.memory import InMemory
from jaxpriv.errors import SettingError
from jaxpriv.metrics import finding
from jaxpriv.metrics import image as image_metrics
from jaxpriv.metrics.finding import Finding, Interval
from jaxpriv.metrics.statistics import Mean
from jaxpriv.models import eigenfaces
from jaxpriv.models.repair import Repairer
from jaxpriv.ranges import COUNT, NATURAL
from jaxpriv.training import recipes
from jaxpriv.training.mechanism import Target
from jaxpriv.training.method import Outputs, Phase

PRODUCTS = ("image",)
RANGES = {
  "components": COUNT, "pairs": COUNT, "widths": NATURAL, "rounds": COUNT,
}  # fmt: skip
APPEARANCE = "appearance"
WHOLE = Interval(1.0, 1.0, 1.0)  # the SSIM of a photograph with itself
JUDGED = ("SSIM", "SSIM hidden")
MEASURED = (*JUDGED, "PSNR", "PSNR hidden")
HIDDEN_WEIGHT = 6.0  # of hidden pixels in the loss, as Liu et al. (ECCV 2018)
SHOWN = 10  # photographs in the report
RECOGNISER = "recogniser"


def attack(
  target: Target,
  people: People,
  components: int = 256,
  pairs: int = 2000,
  widths: tuple[int, ...] = (16, 32, 64),
  rounds: int = 1,
) -> Iterator[Finding]:
  """Repairs released images, and reads what comes out.

  Args:
    target: under attack.
    people: whose photographs these are.
    components: of the Gaussian.
    pairs: of a photograph and its release that least squares take at most.
    widths: of the U-Net; () leaves it out.
    rounds: how often it sees an image.
  """
  test, known = people.test, people.known
  released, learned = (people.image(target, p) for p in (test, known))
  mean = known.arrays["image"].mean(0, dtype=np.float64) / 255
  floor = _measure(people, _shown(released, mean.astype(np.float32)), released)
  rng = np.random.default_rng(people.config.seed)
  if not target.control:
    for name, filler in (
      ("grey", np.full(mean.shape, 0.5, np.float32)),
      ("noise", rng.random(test.arrays["image"].shape, np.float32)),
    ):
      figures = _measure(people, _shown(released, filler), released)
      yield from _appearance(target, name, figures, floor, finding.TOLD)
  columns = {
    "original": test.arrays["image"],
    "released": released.arrays["image"],
  }
  for name, images in _repaired(
    target, people, learned, released, components, pairs, widths, rounds
  ):
    by = f"repair, {name}"
    figures = _measure(people, images, released)
    yield from _appearance(target, by, figures, floor, finding.HIDDEN)
    yield from _identity(target, people, by, images)
    columns[name] = images
  if not target.control:
    _strips(people, columns)


def _repaired(
  target, people, learned, released, components, pairs, widths, rounds
) -> Iterator[tuple[str, np.ndarray]]:
  """(name, images float32 [N, S, S, 3]) of each way to repair."""
  originals = people.known.arrays["image"]
  if "keep" in released.arrays:
    faces = people.once(
      ("eigenfaces", components),
      lambda: eigenfaces.fit(originals, components),
    )
    yield "conditional Gaussian", _likeliest(faces, released)
  else:
    order = np.random.default_rng(people.config.seed).permutation(len(learned))
    some = order[:pairs]
    before = learned.arrays["image"][some]
    linear = embedding_map.ridge(
      before,
      (originals[some].reshape(len(some), -1) / np.float32(255)),
      learned.identities[some],
      embedding_map.inner_products(before),
    )
    after = linear(released.arrays["image"]).reshape(
      released.arrays["image"].shape
    )
    yield "least squares", np.clip(after, 0, 1)
  if widths:
    yield (
      "U-Net",
      _by_network(target, people, learned, released, widths, rounds),
    )


def _likeliest(faces: eigenfaces.Faces, released: InMemory) -> np.ndarray:
  keep = released.arrays["keep"]
  shared = bool((keep == keep[0]).all())
  run = jax.jit(eigenfaces.repair)
  parts = []
  for i in range(0, len(released), 256):
    images = released.arrays["image"][i : i + 256].astype(np.float32) / 255
    parts.append(run(faces, images, keep[0] if shared else keep[i : i + 256]))
  return np.concatenate([np.asarray(part) for part in parts])


def phase(
  name: str,
  options: ConfigDict,
  widths: tuple[int, ...],
  rounds: int,
  embed: Callable | None = None,
  dtype: Any = jnp.float32,
) -> Phase:
  """The U-Net: batches of "released", perhaps "keep", and "image".

  Its output "reconstruct" is the repaired image, kept pixels being those that
  were released. The loss is the mean absolute error, of hidden pixels six
  times, one less the SSIM, and one less the cosine of the embeddings.

  Args:
    name: of the phase.
    options: of the phase; images and what is released of them do not vary.
    widths: see `Repairer`.
    rounds: see there.
    embed: (state, frozen, batch) -> [B, D] of the recogniser, whose state is
      frozen["recogniser"]; None leaves that term out.
    dtype: compute precision.

  Raises:
    SettingError: options.augment is set.
  """
  if options.augment:
    raise SettingError(
      "config.evaluation.phases.repair.augment would vary photographs and not"
      " what is released of them: leave it False"
    )
  model = Repairer(tuple(widths), rounds, dtype)

  def inputs(batch, frozen=None):
    images = batch["released"].astype(jnp.float32) / 255
    return images, batch.get("keep", jnp.ones(images.shape[:3], bool))

  def loss(apply, batch, frozen):
    images, keep = inputs(batch)
    result, wanted = apply(images, keep), batch["image"]
    weight = jnp.where(keep, 1.0, HIDDEN_WEIGHT)[..., None]
    error = jnp.mean(weight * jnp.abs(result - wanted), axis=(1, 2, 3))
    similar = image_metrics.ssim(wanted, result)
    total = error + 1 - similar
    metrics = {"error": error, "similarity": similar}
    if embed is not None:
      both = [
        embed(frozen[RECOGNISER], {}, {**batch, "image": x})
        for x in (result, wanted)
      ]
      unit = [
        x / jnp.sqrt(jnp.square(x).sum(1, keepdims=True) + 1e-12) for x in both
      ]
      metrics["cosine"] = jnp.sum(unit[0] * unit[1], axis=1)
      total += 1 - metrics["cosine"]
    return total, metrics

  def reconstruct(apply, batch, frozen):
    images, keep = inputs(batch)
    result = apply(images, keep)
    if "keep" not in batch:
      return result
    return jnp.where(keep[..., None], images, result)

  return recipes.supervised_phase(
    name,
    model,
    loss,
    options,
    needs=(RECOGNISER,) if embed is not None else (),
    inputs=inputs,
    validated=False,
    outputs=Outputs(reconstruct=reconstruct),
  )


def _by_network(
  target: Target,
  people: People,
  learned: InMemory,
  released: InMemory,
  widths: tuple[int, ...],
  rounds: int,
) -> np.ndarray:
  options = people.options.phases.repair
  reading = people.recogniser_phase(
    RECOGNISER, people.options.phases.recogniser
  )
  made = phase(
    f"repair_{target.name}",
    options,
    widths,
    rounds,
    reading.method.outputs.embed,
    jnp.dtype(people.config.dtype),
  )
  frozen = {RECOGNISER: people.recogniser_state()}
  given = lambda photographs, shown: photographs.replace(
    released=shown.arrays["image"],
    **{k: v for k, v in shown.arrays.items() if k == "keep"},
  )
  state = people.train(
    made,
    given(people.known, learned),
    options,
    ConfigDict(dict(widths=tuple(widths), rounds=rounds)),
    frozen=frozen,
    renumber=False,
  )
  return people.apply(
    made.method.outputs.reconstruct, state, frozen, given(people.test, released)
  )


def _shown(released: InMemory, filler: np.ndarray) -> np.ndarray:
  """Released images whose hidden pixels are a filler's; all, without a mask."""
  images = released.arrays["image"].astype(np.float32) / 255
  keep = released.arrays.get("keep")
  everywhere = np.broadcast_to(filler, images.shape)
  return (
    everywhere
    if keep is None
    else np.where(keep[..., None], images, everywhere)
  )


def _measure(
  people: People, images: np.ndarray, released: InMemory
) -> Mapping[str, Mean]:
  photographs, identities = people.test.arrays["image"], people.test.identities
  found = image_metrics.likeness(photographs, images, identities)
  if "keep" in released.arrays:
    found |= image_metrics.hidden_likeness(
      photographs, images, ~released.arrays["keep"], identities
    )
  return {name: found[name] for name in MEASURED if name in found}


def _appearance(
  target: Target,
  by: str,
  figures: Mapping[str, Mean],
  floor: Mapping[str, Mean],
  wanted: str,
) -> Iterator[Finding]:
  for metric, mean in figures.items():
    judged = metric in JUDGED
    ends: dict[str, Any] = {}
    if metric in floor:
      ends["floor"] = floor[metric].value
    yield finding.of(
      APPEARANCE,
      wanted if judged else finding.TOLD,
      metric,
      mean,
      subject=target.name,
      by=by,
      ceiling=WHOLE if judged else None,
      **ends,
    )


def _identity(
  target: Target, people: People, by: str, images: np.ndarray
) -> Iterator[Finding]:
  """Who is found by what was rebuilt, by recognisers no loss has used."""
  identities = people.test.identities
  shown = people.test.replace(
    image=np.round(np.clip(images, 0, 1) * 255).astype(np.uint8)
  )
  for reader in [people.recogniser(), *people.witnesses()]:
    originals = people.read(reader)
    plain = reidentification.undisguised(originals, identities)
    for rank in reidentification.attacks(
      originals, reader.read(shown), identities
    ):
      if rank.metric != reidentification.RANK:
        continue
      yield reidentification.disguised_finding(
        target,
        rank._replace(attack=f"{by}, {rank.attack}"),
        reader,
        plain,
      )


def _strips(people: People, columns: Mapping[str, np.ndarray]) -> None:
  """Adds strips of a few test photographs to the report: caption -> images."""
  rows = np.linspace(0, len(people.test) - 1, SHOWN).astype(int)
  shown = [
    images[rows]
    if images.dtype == np.uint8
    else np.round(np.clip(images[rows], 0, 1) * 255).astype(np.uint8)
    for images in columns.values()
  ]
  people.strips += [
    {"images": list(strip), "captions": list(columns)}
    for strip in zip(*shown, strict=True)
  ]
