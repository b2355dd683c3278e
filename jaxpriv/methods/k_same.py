"""k-Same: the average face of k people in place of each of them.

Newton, Sweeney, Malin, "Preserving privacy by de-identifying face images", TKDE
17(2), 2005: from a closed set with one image per person, repeatedly take a face
and the k - 1 faces nearest to it among those left, release their average k
times; the last group has k to 2k - 1 faces. A recogniser, whatever it is, sees
the same image for k people and names at most one of them: rank-1 <= 1/k.

* pixel: nearest and average in pixels.
* eigen: both in the space of the first principal components of the set.
* select (Gross et al., PET 2005): the people are parted by attributes first and
  grouped inside each part, so that averages keep the attributes. A part of
  fewer than k people is merged with the nearest part: its people lose the
  attributes in which the two differ, rather than the guarantee.

Groups are of people, not images. A person is the mean of their images, and all
images of a group's people are released as the one average of its people. Were
images grouped, two of one person could meet in a group of k = 2 and hide
nobody; were one person in two groups, what the groups share would name them. So
the bound holds for people: averaged over people, rank-1 <= 1/k, and over images
too if everyone has equally many.

Where it does not hold: for people outside the set, for the same people released
again in other groups (groups intersect), and for implementations that average
every face with its own nearest neighbours, where each release is its owner's.
"""

from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxpriv.errors import SettingError
from jaxpriv.privacy import microaggregation
from jaxpriv.training.method import Outputs, Phase, untrained

KINDS = ("pixel", "eigen", "select")


def phases(config: ConfigDict) -> list[Phase]:
  """One phase without training.

  Args:
    config: with model.kind, one of `KINDS`; model.k, at least 2; for eigen,
      model.components. Select parts by all of batch["attributes"].

  Returns:
    a phase "k_same". Its output "image" is a function of the whole set: give
    it one batch with everybody in it. It returns images [B, H, W, C], zeros for
    padding rows.
  """
  model = config.model
  if model.kind not in KINDS:
    raise SettingError(
      f"config.model.kind is one of {KINDS}, not {model.kind!r}"
    )
  if model.k < 2:
    raise SettingError(f"config.model.k is at least 2, not {model.k}")
  components = model.components if model.kind == "eigen" else None
  by_attributes = model.kind == "select"

  def protect(state, frozen, batch):
    return k_same(
      batch["image"],
      model.k,
      identity=batch.get("identity"),
      attributes=batch["attributes"] if by_attributes else None,
      components=components,
      padding=batch.get("padding"),
    )

  method = untrained(Outputs(image=protect))
  return [Phase("k_same", (), method)]


def unfit(config: ConfigDict, arrays: Mapping[str, np.ndarray]) -> str:
  """Why these records cannot be protected so; "" if they can."""
  reason = microaggregation.unfit(config.model.k, arrays["identity"])
  if reason:
    return reason
  if config.model.kind == "select" and not arrays["attributes"].shape[1]:
    return "it parts people by attributes, and there are none"
  return ""


def k_same(
  images: jax.Array,
  k: int,
  *,
  identity: jax.Array | None = None,
  attributes: jax.Array | None = None,
  components: int | None = None,
  padding: jax.Array | None = None,
) -> jax.Array:
  """Releases a closed set of faces.

  Args:
    images: [B, H, W, C] in [0, 1].
    k: least number of people who share a release.
    identity: int [B]; None where every row is another person.
    attributes: int [B, A], negative unknown, for k-Same-Select. A person has
      what most of their images have.
    components: number of principal components, for k-Same-Eigen; those beyond
      the rank of the set add nothing.
    padding: bool [B], rows to leave out.

  Returns:
    [B, H, W, C], zeros for padding rows.

  Raises:
    ValueError: if the set has fewer than k people, or an identity is unknown.
      Under `jax.jit` values cannot be looked at: the output is then NaN.
  """
  count = len(images)
  if components is not None and components < 1:
    raise ValueError(f"k-Same-Eigen needs components >= 1, not {components}")
  if attributes is not None and not attributes.shape[1]:
    raise ValueError("k-Same-Select needs at least one attribute to part by")
  people, padding = microaggregation.people_of(count, identity, padding, k)
  return _k_same(images, people, attributes, padding, k, components)


@partial(jax.jit, static_argnames=("k", "components"))
def _k_same(images, people, attributes, padding, k, components):
  pixels = images.astype(jnp.float32).reshape(len(images), -1)
  pixels = jnp.where(padding[:, None], 0, pixels)
  faces = microaggregation.means(pixels, people.slot, ~padding)
  mean = microaggregation.means(
    faces, jnp.zeros_like(people.slot), people.present
  )[0]
  # Centred: distances between faces are small beside the faces themselves.
  points = jnp.where(people.present[:, None], faces - mean, 0)
  basis = None
  if components is not None:
    points, basis = microaggregation.principal(points, components)
  part = jnp.zeros(len(images), jnp.int32)
  if attributes is not None:
    part = microaggregation.parts(attributes, people, padding, k)
  group = microaggregation.groups(points, people.present, part, k)
  released = microaggregation.means(points, group, people.present)
  if basis is not None:
    released = jnp.matmul(released, basis, precision="highest")
  released = jnp.clip(released + mean, 0, 1)
  # Gathered by group, so that the releases of a group are equal to the bit.
  output = released[group[people.slot]]
  output = jnp.where(people.fewer_than(k), jnp.nan, output)
  output = jnp.where(padding[:, None], 0, output)
  return output.reshape(images.shape).astype(images.dtype)
