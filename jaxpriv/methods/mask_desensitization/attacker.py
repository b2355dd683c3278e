"""Scores of masks by what an attacker can repair behind them.

The paper takes the hidden ratio for privacy. How much of a photograph can be
guessed from what is left depends on where a mask lies, too: here each candidate
is repaired by the conditional Gaussian of `privacy.eigenfaces`, which has seen
photographs of others: of half of the people (`OTHERS`), and candidates are
scored on those of the other half. It is compared with the photographs:

* `error`: squared error over that of the mean face: 0 is the photograph, at 1
  nothing is known of what the mask hides.
* `identity`: log(1 + n) over log(1 + half of the people), where a recogniser
  finds n people likelier than who it is: 0 names the person, 1 is chance. As it
  has learned from these very people, it is better than an attacker will be.
"""

from collections.abc import Callable, Mapping
from functools import partial

import jax
import jax.numpy as jnp

from jaxpriv.methods.mask_desensitization import search
from jaxpriv.methods.mask_desensitization.search import Frozen
from jaxpriv.privacy import eigenfaces
from jaxpriv.privacy.eigenfaces import Eigenfaces
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training.method import Method, Outputs, Phase

OTHERS = 2  # the attacker has photographs of people whose number it divides


def phase(name: str, components: int) -> Phase:
  """The Gaussian model of the photographs of one batch, the last."""

  def init(key, batch, frozen):
    del key, frozen
    shape = batch["image"].shape[1:]
    count = min(components, len(batch["image"]))
    return Eigenfaces(
      jnp.zeros(shape), jnp.zeros((count, *shape)), jnp.zeros(count),
      jnp.zeros(()),
    )._asdict()  # fmt: skip

  def step(state, frozen, batch, key):
    del state, frozen, key
    images, identity, padding = mesh_lib.gather(
      (batch["image"], batch["identity"], batch["padding"])
    )
    known = jnp.logical_not(padding) & (identity >= 0)
    faces = eigenfaces.fit_on_device(
      images,
      known & (identity % OTHERS == 0),
      components,
      held_out=identity // OTHERS % 4 == 3,
    )
    told = faces.variances.sum()
    rest = faces.noise * faces.mean.size
    return faces._asdict(), {"explained": told / (told + rest)}

  def sample(state, frozen, batch):
    images = batch["image"]
    side = images.shape[1]
    half = jnp.broadcast_to(jnp.arange(side) < side // 2, (side, side))
    faces = Eigenfaces(**state)
    repaired = eigenfaces.repair_on_device(faces, images, half)
    return {"original": images, "right half repaired": repaired}

  return Phase(name, (), Method(init, step, Outputs(sample=sample)))


def error(name: str) -> search.Score:
  """Squared error of repaired photographs, over that of the mean face.

  Args:
    name: of the phase that holds the model.
  """

  def score(photographs, keep, frozen):
    images, known = photographs["image"], photographs["known"]
    faces = Eigenfaces(**frozen[name])
    off = lambda guess: jnp.square(guess - images).sum((1, 2, 3)) @ known
    blind = jnp.maximum(off(faces.mean), 1e-12)
    repaired = partial(eigenfaces.repair_on_device, faces, images)
    each = lambda mask: off(repaired(mask)) / blind
    return jax.vmap(each)(mesh_lib.constrain(keep))

  return score


def identity(
  name: str,
  logits: Callable[[jax.Array, Frozen], jax.Array],
) -> search.Score:
  """How many people a recogniser finds likelier than who it is, by logarithm.

  Args:
    name: of the phase that holds the model.
    logits: of the recogniser, [B, people].
  """

  def score(
    photographs: Mapping[str, jax.Array], keep: jax.Array, frozen: Frozen
  ) -> jax.Array:
    images = photographs["image"]
    faces = Eigenfaces(**frozen[name])
    each = partial(eigenfaces.repair_on_device, faces, images)
    repaired = jax.vmap(each)(mesh_lib.constrain(keep))
    flat = mesh_lib.constrain(repaired.reshape(-1, *images.shape[1:]))
    found = logits(flat, frozen)
    labels = jnp.tile(jnp.maximum(photographs["identity"], 0), len(keep))
    own = jnp.take_along_axis(found, labels[:, None], axis=1)
    others = max(found.shape[1] - 1, 1)
    # Who is alike to the last bit counts half, as in the area under a curve.
    likelier = (found > own).sum(1) + ((found == own).sum(1) - 1) / 2
    places = jnp.log1p(likelier) / jnp.log1p(others / 2)
    return search.mean_known(places, photographs["known"])

  return score
