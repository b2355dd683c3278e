"""Non-maximum suppression, exactly the greedy one, in a compiled program.

Greedy suppression visits boxes from the best score to the worst, and keeps each
that no kept box overlaps too much (Felzenszwalb et al., TPAMI 32(9), 2010).
Here it visits tiles of the sorted boxes instead:

* A tile loses what kept boxes of earlier tiles suppress. They lie together in a
  buffer: the work grows with the number of boxes times that of kept boxes, and
  the memory with the number of boxes, not with its square.
* What is left is resolved by repeating "keep what no kept box before it
  suppresses" until nothing changes. Round n settles every box whose chain of
  suppressors is shorter than n, so that this ends, and only the greedy answer
  does not change, at any threshold.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

LARGEST = np.finfo(np.float32).max


def nms(
  boxes: jax.Array,
  scores: jax.Array,
  overlap: float | jax.Array,
  valid: jax.Array | None = None,
  inclusive: bool = False,
  tile: int = 512,
) -> jax.Array:
  """Tells which boxes greedy suppression keeps.

  Shapes are static: call it under `jax.jit`, and `jax.vmap` for many images.

  Boxes are float32, and a box goes if
  intersection > overlap * (area + area - intersection), where every operation
  is rounded by itself. Nothing is divided, as accelerators divide inexactly.

  Args:
    boxes: [N, 4], x0 y0 x1 y1. A box without an area neither suppresses nor is
      suppressed; sides of others may be from 1e-18 to 1e18.
    scores: [N]. Among equal scores the lower index comes first.
    overlap: intersection over union, in [0, 1], above which the later of two
      boxes is suppressed; as much is not enough. It may be traced.
    valid: bool [N], which rows are boxes; all by default. Rows whose score is
      NaN or -inf, or whose box is not finite, never are.
    inclusive: x1 and y1 are the last pixels of a box, as in RetinaFace: it is
      x1 - x0 + 1 wide.
    tile: boxes of a tile; temporary memory grows with its square.

  Returns:
    bool [N], in the order of `boxes`; false where there is no box.

  Raises:
    ValueError: shapes do not match, or `overlap` or `tile` is out of range.
  """
  boxes, scores = jnp.asarray(boxes), jnp.asarray(scores) * 1.0
  valid = jnp.ones(scores.shape, bool) if valid is None else jnp.asarray(valid)
  if boxes.ndim != 2 or boxes.shape[1] != 4:
    raise ValueError(f"boxes must be [N, 4], not {list(boxes.shape)}")
  for name, row in ("scores", scores), ("valid", valid):
    if row.shape != boxes.shape[:1]:
      raise ValueError(
        f"{name} must be [{len(boxes)}], one a box, not {list(row.shape)}"
      )
  if not isinstance(overlap, jax.core.Tracer) and not 0 <= overlap <= 1:
    raise ValueError(f"overlap must lie in [0, 1], not {overlap}")
  if tile < 1:
    raise ValueError(f"a tile holds at least 1 box, not {tile}")
  if not len(boxes):
    return jnp.zeros(0, bool)
  return _nms(
    boxes.astype(jnp.float32),
    scores,
    jnp.float32(overlap),
    valid.astype(bool),
    extra=int(inclusive),
    tile=min(tile, len(boxes)),
  )


@functools.partial(jax.jit, static_argnames=("extra", "tile"))
def _nms(boxes, scores, overlap, valid, extra, tile):
  count = len(boxes)
  valid &= (scores > -jnp.inf) & jnp.isfinite(boxes).all(1)
  order = jnp.argsort(jnp.where(valid, -scores, jnp.inf), stable=True)
  # The coordinates and the area are rows [5, N]: a coordinate lies together.
  area = _area(boxes.T, extra, LARGEST)
  sides = jnp.concatenate([boxes.T, area[None]])[:, order]
  tiles = -(-count // tile)
  padding = tiles * tile - count
  sides = jnp.pad(sides, ((0, 0), (0, padding)))
  valid = jnp.pad(valid[order], (0, padding))
  suppresses = functools.partial(_suppresses, overlap=overlap, extra=extra)
  before = jnp.arange(tile)[:, None] < jnp.arange(tile)

  def visit(carry, row):
    kept, num_kept = carry
    boxes, alive = row

    def lose(i, alive):
      block = jax.lax.dynamic_slice_in_dim(kept, i * tile, tile, 1)
      return alive & ~suppresses(block, boxes).any(0)

    blocks = jnp.where(alive.any(), (num_kept + tile - 1) // tile, 0)
    alive = jax.lax.fori_loop(0, blocks, lose, alive)
    keep = _resolve(alive, suppresses(boxes, boxes) & before)
    place = jnp.where(keep, num_kept + jnp.cumsum(keep) - 1, kept.shape[1])
    kept = kept.at[:, place].set(boxes, mode="drop")
    return (kept, num_kept + keep.sum(dtype=jnp.int32)), keep

  # A place of the buffer that is not filled yet holds what overlaps nothing.
  nothing = jnp.array([jnp.inf, jnp.inf, -jnp.inf, -jnp.inf, 0], jnp.float32)
  kept = jnp.broadcast_to(nothing[:, None], sides.shape)
  rows = sides.reshape(5, tiles, tile).swapaxes(0, 1), valid.reshape(tiles, -1)
  _, keep = jax.lax.scan(visit, (kept, jnp.int32(0)), rows)
  return jnp.zeros(count, bool).at[order].set(keep.reshape(-1)[:count])


def _resolve(alive, pairs):
  """The greedy answer [N] among boxes `alive` [N].

  `pairs` [N, N] tells that the first box suppresses the second, which is later.
  """

  def again(rounds):
    last, keep = rounds
    return (last != keep).any()

  def repeat(rounds):
    _, keep = rounds
    return keep, alive & ~(pairs & keep[:, None]).any(0)

  return jax.lax.while_loop(again, repeat, (jnp.zeros_like(alive), alive))[1]


def _suppresses(a, b, overlap, extra):
  """Bool [A, B]: box a [5, A] overlaps b [5, B] by more than `overlap`."""
  a, b = a[:, :, None], b[:, None, :]
  low = [jnp.maximum(a[i], b[i]) for i in (0, 1)]
  high = [jnp.minimum(a[i], b[i]) for i in (2, 3)]
  shared = _area(low + high, extra, a[4])
  return shared > overlap * (a[4] + b[4] - shared)


def _area(box, extra, most):
  """The area of a box [4, ...], which is never more than `most`.

  That bound changes nothing, but no compiler knows: it would fuse the product
  with a sum that follows, and round once instead of twice. Where that happens
  depends on the device and on the program around it.
  """
  x0, y0, x1, y1 = box
  width = jnp.maximum(x1 - x0 + extra, 0)
  height = jnp.maximum(y1 - y0 + extra, 0)
  return jnp.minimum(width * height, most)
