"""k-Same-Net: a generated face, a mixture of k others, for a group of k people.

Meden, Emersic, Struc, Peer, "k-Same-Net: k-Anonymity with Generative Deep
Neural Networks for Face Deidentification", Entropy 20(1):60, 2018. A generator
learns to draw the people of a training set, the proxies, from a code of who
they are, one-hot, and from attributes. People to be protected are others. They
are grouped by k, a group is matched to k proxies, and all of its images are
released as one: the face that the generator draws of the proxies' mean code,
1/k in k places, with the attributes of the group.

The bound of k-Same holds for the same reason as in `k_same`, and no other: all
images of a group's people, k or more, are one image, attributes included.
Rank-1, averaged over people of a closed set that is released once, is at most
1/k, whatever the generator has learned. So that the attributes are right,
people are parted by them before they are grouped, as in k-Same-Select; parts of
fewer than k merge with the nearest, and the group then shows what most of it
have. Were every image given its own expression, as the paper also shows, a
recogniser could tell images of a group apart, and the bound would be gone.

The proxies are disjoint from the protected people, but they are people too: the
mean of k of them may look like one. Train the generator with `config.dp`, or on
people who agree.

Decided here:

* The loss is the mean absolute error. The paper's generator is trained by
  squared error, which draws blurrier faces.
* Groups are formed, and matched to proxies, by the distance between thumbnails
  of 16 x 16 pixels, a person's mean, and of proxies as the generator draws them
  without attributes. The paper compares features of a recogniser.
* An attribute is 1, -1, or 0 where it is unknown.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxpriv.data.dataset import Data
from jaxpriv.data.records import DataError
from jaxpriv.errors import SettingError
from jaxpriv.models.face_generator import FaceGenerator
from jaxpriv.privacy import microaggregation
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training import recipes, transfer
from jaxpriv.training.mechanism import Load
from jaxpriv.training.method import Outputs, Phase

GENERATOR = "generator"
THUMBNAIL = 16
AT_ONCE = 64  # proxies drawn at once, which bounds the memory
MADE_WITH = {
  GENERATOR: (
    "model.generator",
    "data.attributes",
    "data.image_size",
    "data.align",
  )
}


def check(config: ConfigDict, data: Data, load: Load) -> None:
  """Checks that there are k proxies, and what is taken over untrained.

  Raises:
    DataError: there are fewer, or it was trained with other settings.
  """
  del data
  if config.model.k > config.data.num_people:
    raise DataError(
      f"a released face is a mixture of config.model.k = {config.model.k} of"
      f" the people to train on, and there are {config.data.num_people}: lower"
      " k, or use more people"
    )
  transfer.check_copied(config, MADE_WITH, load)


def unfit(config: ConfigDict, arrays: Mapping[str, np.ndarray]) -> str:
  """Why these records cannot be protected so; "" if they can."""
  return microaggregation.unfit(config.model.k, arrays["identity"])


def phases(config: ConfigDict) -> list[Phase]:
  """One phase, the generator.

  Args:
    config: with model.k, at least 2, model.generator, the fields of
      `FaceGenerator`, data.num_people, the proxies, and data.attributes.

  Returns:
    a phase "generator". Its output "image" is a function of the whole set: give
    it one batch with everybody in it. It returns images [B, S, S, 3], zeros for
    padding rows, NaN if there are fewer than k people or some are unknown.
  """
  k, proxies = config.model.k, config.data.num_people
  if k < 2:
    raise SettingError(f"config.model.k is at least 2, not {k}")
  side = config.data.image_size
  if side % 2 ** len(config.model.generator.widths):
    raise SettingError(
      f"config.data.image_size = {side}: the generator doubles the side"
      f" {len(config.model.generator.widths)} times; take a multiple of"
      f" {2 ** len(config.model.generator.widths)}, or fewer"
      " config.model.generator.widths"
    )
  network = FaceGenerator(
    side, dtype=jnp.dtype(config.dtype), **config.model.generator
  )

  def inputs(batch, frozen=None):
    # People who are no proxies have a code of zeros.
    code = jax.nn.one_hot(batch["identity"], proxies)
    return code, signs(batch["attributes"])

  def loss(apply, batch, frozen):
    error = jnp.abs(batch["image"] - apply(*inputs(batch)))
    known = (batch["identity"] >= 0) & (batch["identity"] < proxies)
    return jnp.mean(error, axis=(1, 2, 3)) * known, {}

  def protect(apply, batch, frozen):
    return k_same_net(
      apply,
      batch["image"],
      k,
      proxies,
      identity=batch.get("identity"),
      attributes=batch["attributes"],
      padding=batch.get("padding"),
    )

  def sample(apply, batch, frozen):
    return {"original": batch["image"], "generated": apply(*inputs(batch))}

  # Held-out people are no proxies: a validation loss would mean nothing.
  return [
    recipes.supervised_phase(
      GENERATOR,
      network,
      loss,
      config.phases[GENERATOR],
      inputs=inputs,
      validated=False,
      outputs=Outputs(image=protect, sample=sample),
    )
  ]


def signs(attributes: jax.Array) -> jax.Array:
  """Attributes in {0, 1}, negative unknown, as float32 1, -1 and 0."""
  return jnp.where(attributes < 0, 0, 2 * attributes - 1).astype(jnp.float32)


def k_same_net(
  generate,
  images: jax.Array,
  k: int,
  proxies: int,
  *,
  identity: jax.Array | None = None,
  attributes: jax.Array,
  padding: jax.Array | None = None,
) -> jax.Array:
  """Releases a closed set of faces.

  Args:
    generate: codes [G, proxies] and signs of attributes [G, A] -> images [G, H,
      W, C] in [0, 1].
    images: [B, H, W, C] in [0, 1].
    k: least number of people who share a release, and proxies in it.
    proxies: people of the generator.
    identity: int [B]; None where every row is another person.
    attributes: int [B, A], negative unknown.
    padding: bool [B], rows to leave out.

  Returns:
    [B, H, W, C], zeros for padding rows.

  Raises:
    ValueError: if the set, or the generator, has fewer than k people, or an
      identity is unknown. Under `jax.jit` values cannot be looked at: the
      output is then NaN.
  """
  rows = len(images)
  if proxies < k:
    raise ValueError(f"{k} proxies are to be mixed, and there are {proxies}")
  people, padding = microaggregation.people_of(rows, identity, padding, k)
  pixels = jnp.where(padding[:, None, None, None], 0, images)
  faces = microaggregation.means(_thumbnails(pixels), people.slot, ~padding)
  part = jnp.zeros(rows, jnp.int32)
  if attributes.shape[1]:
    part = microaggregation.parts(attributes, people, padding, k)
  group = microaggregation.groups(faces, people.present, part, k)

  count = max(rows // k, 1)
  average = microaggregation.means(faces, group, people.present)[:count]
  own = microaggregation.majority(attributes, people.slot, ~padding)
  shown = microaggregation.majority(own, group, people.present)[:count]
  codes = _codes(average, _drawn(generate, proxies, attributes.shape[1]), k)
  # Replicated: there may be fewer groups than devices.
  codes, shown = mesh_lib.gather((codes, signs(shown)))
  released = generate(codes, shown)
  # Gathered by group, so that the releases of a group are equal to the bit.
  output = released[group[people.slot]]
  output = jnp.where(people.fewer_than(k), jnp.nan, output)
  output = jnp.where(padding[:, None, None, None], 0, output)
  return output.astype(images.dtype)


def _thumbnails(images):
  """[B, H, W, C] -> float32 [B, THUMBNAIL^2 C]."""
  shape = (len(images), THUMBNAIL, THUMBNAIL, images.shape[-1])
  small = jax.image.resize(images.astype(jnp.float32), shape, "linear")
  return small.reshape(len(images), -1)


def _drawn(generate, proxies, attributes):
  """Thumbnails [proxies, D] of the proxies, without attributes."""

  def draw(numbers):
    codes = jax.nn.one_hot(numbers, proxies)
    return _thumbnails(generate(codes, jnp.zeros((len(numbers), attributes))))

  size = min(AT_ONCE, proxies)
  numbers = jnp.arange(-(-proxies // size) * size).reshape(-1, size)
  return jax.lax.map(draw, numbers).reshape(-1, 3 * THUMBNAIL**2)[:proxies]


def _codes(faces, proxies, k):
  """The mean codes [G, N] of the k of N proxies nearest to each of G faces."""
  distances = (
    jnp.sum(jnp.square(faces), 1)[:, None]
    + jnp.sum(jnp.square(proxies), 1)
    - 2 * jnp.matmul(faces, proxies.T, precision="highest")
  )
  _, nearest = jax.lax.top_k(-distances, k)
  return jax.nn.one_hot(nearest, len(proxies)).mean(1)
