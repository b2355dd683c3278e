"""Microaggregation: people in groups of k or more near ones.

Each person's record is replaced by one of the group, such as the mean of its
people. Whoever sees only that names at most one of k rightly: rank-1 <= 1/k,
averaged over people. It is the core of the k-Same family (Newton, Sweeney,
Malin, TKDE 17(2), 2005), and holds for a closed set that is released once.

A batch has B rows, images of people; there are as many slots for people as
rows, so that shapes do not depend on values. All of it can be jitted.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


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

  def fewer_than(self, k: int) -> jax.Array:
    """bool []: no groups of k can be made of them, or nobody knows which."""
    return ~self.known | (self.present.sum() < k)


def unfit(k: int, identity: np.ndarray) -> str:
  """Why people of these identities [N] cannot be grouped; "" if they can."""
  unknown = int((identity < 0).sum())
  if unknown:
    return f"it groups people, and of {unknown} photographs they are unknown"
  people = len(np.unique(identity))
  if k > people:
    return f"it averages {k} people and there are {people}; lower its model.k"
  return ""


def people_of(
  rows: int, identity: jax.Array | None, padding: jax.Array | None, k: int
) -> tuple[People, jax.Array]:
  """The people of a batch.

  Args:
    rows: B.
    identity: int [B]; None where every row is another person.
    padding: bool [B], rows to leave out; None for none.
    k: the people that there should be at least.

  Returns:
    the people, and padding bool [B].

  Raises:
    ValueError: there are fewer than k, or an identity is unknown. Under
      `jax.jit` values cannot be looked at: ask `People.fewer_than`.
  """
  identity = jnp.arange(rows) if identity is None else jnp.asarray(identity)
  padding = jnp.zeros(rows, bool) if padding is None else jnp.asarray(padding)
  nobody = jnp.iinfo(identity.dtype).max
  values, slot = jnp.unique(
    jnp.where(padding, nobody, identity),
    size=rows,
    fill_value=nobody,
    return_inverse=True,
  )
  known = jnp.all(padding | (identity >= 0))
  people = People(slot.astype(jnp.int32), values != nobody, known)
  _check(people, k)
  return people, padding


def _check(people, k):
  if isinstance(people.present, jax.core.Tracer):
    if len(people.present) < k:
      raise ValueError(
        f"a batch of {len(people.present)} rows cannot hold k = {k} people:"
        " give it the whole set"
      )
    return
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


def means(values: jax.Array, segment: jax.Array, keep: jax.Array) -> jax.Array:
  """Means of the kept rows [N, D] of each of N segments; 0 for empty ones."""
  count = len(values)
  weight = keep.astype(values.dtype)
  total = jax.ops.segment_sum(values * weight[:, None], segment, count)
  members = jax.ops.segment_sum(weight, segment, count)
  return total / jnp.maximum(members, 1)[:, None]


def majority(
  attributes: jax.Array, segment: jax.Array, keep: jax.Array
) -> jax.Array:
  """The attributes that most kept rows of each of N segments have.

  Args:
    attributes: int [N, A] in {0, 1}, negative unknown.
    segment: int32 [N].
    keep: bool [N].

  Returns:
    int32 [N, A], -1 where they are unknown of all.
  """
  told = (attributes >= 0) & keep[:, None]
  votes = jax.ops.segment_sum(told.astype(jnp.int32), segment, len(told))
  yes = jax.ops.segment_sum(
    jnp.where(told, attributes, 0).astype(jnp.int32), segment, len(told)
  )
  return jnp.where(votes > 0, 2 * yes > votes, -1)


def principal(
  points: jax.Array, components: int
) -> tuple[jax.Array, jax.Array]:
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
  value = majority(attributes, people.slot, ~padding)
  kinds, part = jnp.unique(value, axis=0, size=len(value), return_inverse=True)
  # One attribute at a time: all pairs of kinds at once would fill the memory.
  apart = sum(kinds[:, None, a] != kinds[:, a] for a in range(kinds.shape[1]))

  def sizes(part):
    return jax.ops.segment_sum(
      people.present.astype(jnp.int32), part, len(value)
    )

  def too_small(part):
    size = sizes(part)
    return ((size > 0) & (size < k)).any() & ((size > 0).sum() > 1)

  def merge(part):
    size = sizes(part)
    smallest = jnp.argmin(jnp.where(size > 0, size, len(value) + 1))
    other = (size > 0) & (jnp.arange(len(value)) != smallest)
    far = kinds.shape[1] + 1
    nearest = jnp.argmin(jnp.where(other, apart[smallest], far))
    return jnp.where(part == smallest, nearest, part).astype(part.dtype)

  part = part.reshape(-1).astype(jnp.int32)
  return jax.lax.while_loop(too_small, merge, part)
