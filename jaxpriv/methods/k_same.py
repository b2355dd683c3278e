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
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxpriv.errors import SettingError
from jaxpriv.training.method import Outputs, Phase, untrained

KINDS = ("pixel", "eigen", "select")


class People(NamedTuple):
  """The people of a batch of B rows, in at most B slots.

  Attributes:
    slot: int32 [B], the slot of each row's person.
    present: bool [B], slots that hold a person.
    known: bool [], nobody's identity is unknown.
  """

  slot: jax.Array
  present: jax.Array
  known: jax.Array


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
  unknown = int((arrays["identity"] < 0).sum())
  if unknown:
    return f"it groups people, and of {unknown} photographs they are unknown"
  people = len(np.unique(arrays["identity"]))
  if config.model.k > people:
    return (
      f"it averages {config.model.k} people and there are {people}; lower its"
      " model.k"
    )
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
  if identity is None:
    identity = jnp.arange(count)
  if padding is None:
    padding = jnp.zeros(count, bool)
  if not isinstance(identity, jax.core.Tracer) and not isinstance(
    padding, jax.core.Tracer
  ):
    _check(_people(identity, padding), k)
  elif count < k:
    raise ValueError(
      f"a batch of {count} rows cannot hold k = {k} people: give it the whole"
      " set"
    )
  return _k_same(images, identity, attributes, padding, k, components)


def _check(people, k):
  total = int(people.present.sum())
  if not people.known:
    raise ValueError(
      "k-Same groups people, but the identity of some images is unknown (-1)."
      " Label them, or pass no identity if no person has two images"
    )
  if total < k:
    raise ValueError(
      f"k-Same with k = {k} needs at least {k} people, and the set has"
      f" {total}: lower k or give the whole set in one batch"
    )


@partial(jax.jit, static_argnames=("k", "components"))
def _k_same(images, identity, attributes, padding, k, components):
  people = _people(identity, padding)
  pixels = images.astype(jnp.float32).reshape(len(images), -1)
  pixels = jnp.where(padding[:, None], 0, pixels)
  faces = _means(pixels, people.slot, ~padding)
  mean = _means(faces, jnp.zeros_like(people.slot), people.present)[0]
  # Centred: distances between faces are small beside the faces themselves.
  points = jnp.where(people.present[:, None], faces - mean, 0)
  basis = None
  if components is not None:
    points, basis = _principal(points, components)
  part = jnp.zeros(len(images), jnp.int32)
  if attributes is not None:
    part = parts(attributes, people, padding, k)
  group = groups(points, people.present, part, k)
  released = _means(points, group, people.present)
  if basis is not None:
    released = jnp.matmul(released, basis, precision="highest")
  released = jnp.clip(released + mean, 0, 1)
  # Gathered by group, so that the releases of a group are equal to the bit.
  output = released[group[people.slot]]
  refused = ~people.known | (people.present.sum() < k)
  output = jnp.where(refused, jnp.nan, output)
  output = jnp.where(padding[:, None], 0, output)
  return output.reshape(images.shape).astype(images.dtype)


def groups(
  points: jax.Array, present: jax.Array, part: jax.Array, k: int
) -> jax.Array:
  """Parts people into groups of k to 2k - 1 near ones.

  Args:
    points: [P, D], one per person.
    present: bool [P], slots that hold a person.
    part: int32 [P]; groups stay inside a part, which has k people or more.
    k: least size of a group.

  Returns:
    int32 [P], the group of each person; arbitrary for empty slots.
  """
  squares = jnp.sum(jnp.square(points), 1)
  products = jnp.matmul(points, points.T, precision="highest")
  distances = squares[:, None] + squares - 2 * products

  def form(number, group):
    left = present & (group < 0)
    first = jnp.argmax(left)
    near = left & (part == part[first])
    # By rounding, a face's double may seem nearer to it than it is itself.
    row = jnp.where(near, distances[first], jnp.inf).at[first].set(-jnp.inf)
    rank = jnp.argsort(jnp.argsort(row))
    # Fewer than k would stay behind: they join, up to 2k - 1.
    chosen = near & ((rank < k) | (near.sum() < 2 * k))
    return jnp.where(chosen, number, group)

  start = jnp.full(len(points), -1, jnp.int32)
  group = jax.lax.fori_loop(0, len(points) // k, form, start)
  return jnp.maximum(group, 0)


def parts(
  attributes: jax.Array, people: People, padding: jax.Array, k: int
) -> jax.Array:
  """Parts people by attributes; parts of fewer than k join the nearest part.

  Args:
    attributes: int [B, A], negative unknown, which is a value of its own.
    people: of the B rows.
    padding: bool [B].
    k: least number of people of a part.

  Returns:
    int32 [B], the part of the person of each slot.
  """
  told = (attributes >= 0) & ~padding[:, None]
  votes = jax.ops.segment_sum(told.astype(jnp.int32), people.slot, len(told))
  yes = jax.ops.segment_sum(
    jnp.where(told, attributes, 0).astype(jnp.int32), people.slot, len(told)
  )
  value = jnp.where(votes > 0, 2 * yes > votes, -1)
  kinds, part = jnp.unique(value, axis=0, size=len(told), return_inverse=True)
  # One attribute at a time: all pairs of kinds at once would fill the memory.
  apart = sum(kinds[:, None, a] != kinds[:, a] for a in range(kinds.shape[1]))

  def sizes(part):
    return jax.ops.segment_sum(
      people.present.astype(jnp.int32), part, len(told)
    )

  def too_small(part):
    size = sizes(part)
    return ((size > 0) & (size < k)).any() & ((size > 0).sum() > 1)

  def merge(part):
    size = sizes(part)
    smallest = jnp.argmin(jnp.where(size > 0, size, len(told) + 1))
    other = (size > 0) & (jnp.arange(len(told)) != smallest)
    far = kinds.shape[1] + 1
    nearest = jnp.argmin(jnp.where(other, apart[smallest], far))
    return jnp.where(part == smallest, nearest, part).astype(part.dtype)

  part = part.reshape(-1).astype(jnp.int32)
  return jax.lax.while_loop(too_small, merge, part)


def _people(identity, padding) -> People:
  identity, padding = jnp.asarray(identity), jnp.asarray(padding)
  nobody = jnp.iinfo(identity.dtype).max
  values, slot = jnp.unique(
    jnp.where(padding, nobody, identity),
    size=len(identity),
    fill_value=nobody,
    return_inverse=True,
  )
  known = jnp.all(padding | (identity >= 0))
  return People(slot.astype(jnp.int32), values != nobody, known)


def _means(values, segment, keep):
  """Means of the rows [N, D] of each of N segments; 0 for empty ones."""
  count = len(values)
  weight = keep.astype(values.dtype)
  total = jax.ops.segment_sum(values * weight[:, None], segment, count)
  members = jax.ops.segment_sum(weight, segment, count)
  return total / jnp.maximum(members, 1)[:, None]


def _principal(points, components):
  """Coordinates [P, n] of centred points [P, D], and the n axes [n, D]."""
  # There are fewer people than pixels, so the small Gram matrix is factored.
  gram = jnp.matmul(points, points.T, precision="highest")
  values, vectors = jnp.linalg.eigh(gram)
  count = min(components, len(points))
  lengths = jnp.sqrt(jnp.maximum(values[::-1][:count], 0))
  vectors = vectors[:, ::-1][:, :count]
  # Axes a thousandth as long as the first are rounding in the Gram matrix.
  real = lengths > 1e-3 * lengths[0]
  vectors = jnp.where(real, vectors, 0)
  axes = jnp.matmul(vectors.T, points, precision="highest")
  return vectors * lengths, axes / jnp.where(real, lengths, 1)[:, None]
