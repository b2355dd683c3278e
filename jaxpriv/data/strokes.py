"""Random masks: free-form strokes, drawn on the device.

They are those of Yu et al., "Free-Form Image Inpainting with Gated
Convolution", ICCV 2019, among which Li et al., "On Mask-based Image Set
Desensitization with Recognition Support", 2023, search. A stroke is a chain of
segments drawn with a round brush: a pixel is on if and only if its distance to
a segment is at most half the width. A mask is a function of its key, and all is
done on the device: vmap over keys, hyper-parameters and ratios, in one jit.

The pixels of a column that a segment covers are an interval, so a column is
drawn as bits, 32 pixels in a word, and only the finished mask as pixels
(`launch.benchmark masks`).
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxpriv.data import masks
from jaxpriv.data.records import DataError
from jaxpriv.errors import SettingError

_THINNEST = 10 / 224  # of brushes, as in most programs that draw such masks
_WORD = 32
_FULL = np.uint32(2**_WORD - 1)


class Strokes(NamedTuple):
  """Hyper-parameters of random masks; each a number or an array, traced or not.

  Lengths are shares of the side, so that masks of all sizes look alike. With
  the defaults strokes cover .75 of a mask on average, with a standard deviation
  of .09; the mask that Li et al. found hides .76.

  Attributes:
    number: strokes of a mask.
    min_vertex: the fewest segments of a stroke, at least 1.
    max_vertex: the most.
    max_length: of a segment.
    max_width: of the brush, which changes from segment to segment; the least
      is 10 / 224, or this if it is smaller.
    max_angle: radians from the vertical; every second segment turns the other
      way.
  """

  number: ArrayLike = 6
  min_vertex: ArrayLike = 8
  max_vertex: ArrayLike = 16
  max_length: ArrayLike = 80 / 224
  max_width: ArrayLike = 60 / 224
  max_angle: ArrayLike = 2 * math.pi


class Segments(NamedTuple):
  """Segments that a brush draws, in pixels; the first pixel's centre is (0, 0).

  Attributes:
    start: [S, 2], x and y.
    end: [S, 2].
    width: [S]; a segment of no width, or a negative one, draws nothing.
  """

  start: jax.Array
  end: jax.Array
  width: jax.Array


def free_form(
  key: jax.Array,
  strokes: Strokes = Strokes(),
  side: int = 224,
  *,
  drawn: str,
  segments: int = 96,
) -> jax.Array:
  """A random mask.

  Args:
    key: of the mask.
    strokes: hyper-parameters, [] each.
    side: of the mask, in pixels.
    drawn: what strokes are: `HOLES` or `KEPT`.
    segments: room for as many: number * max_vertex must fit.

  Returns:
    bool [side, side], 1 is visible.

  Raises:
    SettingError: see `check_strokes`, unless hyper-parameters are traced.
  """
  kept = masks.is_kept(drawn)
  pixels = draw(random_walk(key, strokes, side, segments), side)
  return pixels if kept else ~pixels


def with_ratio(
  key: jax.Array,
  hidden: ArrayLike,
  strokes: Strokes = Strokes(),
  side: int = 224,
  *,
  drawn: str,
  segments: int = 96,
  critical: jax.Array | None = None,
) -> jax.Array:
  """A random mask that hides a given share, by the width of its brush.

  All widths are multiplied by one factor, which is found by bisection. The
  ratio is met but for pixels that are reached at one and the same width: at 224
  pixels within .001.

  Args:
    key: see `free_form`, as for strokes, side, drawn and segments.
    hidden: wanted ratio [].
    strokes: hyper-parameters.
    side: of the mask.
    drawn: what strokes are.
    segments: room for as many.
    critical: pixels that stay visible whatever is drawn, bool [side, side]; the
      ratio is that of the combined mask. It can be no more than these leave.

  Returns:
    bool [side, side], 1 is visible.
  """
  kept = masks.is_kept(drawn)
  walk = random_walk(key, strokes, side, segments)
  if critical is None:
    critical = jnp.zeros((side, side), bool)
  always = _packed(critical)
  everything = _packed(jnp.ones((side, side), bool))

  def combined(scale):
    """The visible pixels of a brush as bits."""
    bits = draw_bits(walk._replace(width=walk.width * scale), side)
    visible = bits if kept else ~bits & everything
    return visible | always

  def ratio(scale):
    return 1 - jnp.bitwise_count(combined(scale)).sum() / side**2

  def halved(_, between):
    low, high = between
    middle = (low + high) / 2
    # A wider brush hides more, or less.
    wider = (ratio(middle) > hidden) == kept
    return jnp.where(wider, middle, low), jnp.where(wider, high, middle)

  # The widest segment alone covers the mask at three times its side.
  limit = 3 * side / walk.width.max()
  ends = jax.lax.fori_loop(0, 18, halved, (jnp.zeros_like(limit), limit))
  off = [jnp.abs(ratio(scale) - hidden) for scale in ends]
  return _unpacked(combined(jnp.where(off[0] < off[1], *ends)))


def irregular(
  key: jax.Array, hidden: tuple[float, float], side: int, count: int
) -> jax.Array:
  """Random masks whose hidden ratios are in a range, such as a `BUCKETS` one.

  They stand in for the masks of Liu et al.: holes of a few brush strokes, more
  of them where more is hidden. Mask i is the same whatever their number.

  Args:
    key: of all.
    hidden: each ratio is above the first and at most the second; evenly spread.
    side: in pixels.
    count: how many.

  Returns:
    bool [count, side, side], 1 is visible.

  Raises:
    DataError: the range is none, or too narrow for so few pixels.
  """
  low, high = hidden
  if not 0 <= low < high <= 1:
    raise DataError(
      f"hidden ratios above {low} and up to {high} are no range: give two"
      " numbers between 0 and 1, the smaller first."
    )
  keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(count))
  keep = _irregular(keys, low, high, side)
  ratios = np.logical_not(np.asarray(keep)).mean((1, 2))
  wrong = ~((low < ratios) & (ratios <= high))
  if wrong.any():
    raise DataError(
      f"{wrong.sum()} of {count} masks of {side} px cannot be drawn with hidden"
      f" ratios above {low} and up to {high}: choose a wider range or a larger"
      " side."
    )
  return keep


@jax.jit(static_argnames="side")
def _irregular(keys, low, high, side):
  def one(key):
    place, lines = jax.random.split(key)
    # Not at the ends of the range, which a pixel may cross.
    ratio = low + (high - low) * jax.random.uniform(
      place, minval=0.05, maxval=0.95
    )
    strokes = Strokes(1 + 10 * ratio, 4, 12)
    return with_ratio(
      lines, ratio, strokes, side, drawn=masks.HOLES, segments=132
    )

  return jax.vmap(one)(keys)


def check_strokes(strokes: Strokes, segments: int = 96) -> None:
  """Refuses hyper-parameters that draw nothing, or more than there is room for.

  Raises:
    SettingError: the message names the hyper-parameter.
  """
  values = {
    name: np.asarray(value, np.float64)
    for name, value in strokes._asdict().items()
  }
  for name, value in values.items():
    least = 1 if name in ("number", "min_vertex", "max_vertex") else 0
    if not (np.isfinite(value) & (value >= least)).all():
      raise SettingError(
        f"strokes.{name} = {value}: give a number of at least {least}"
      )
  if (values["min_vertex"] > values["max_vertex"]).any():
    raise SettingError(
      f"strokes.min_vertex = {strokes.min_vertex} is above strokes.max_vertex ="
      f" {strokes.max_vertex}: exchange them"
    )
  if not (values["max_width"] > 0).all():
    raise SettingError("strokes.max_width = 0 draws nothing: give more")
  most = int((values["number"] * values["max_vertex"]).max())
  if most > segments:
    raise SettingError(
      f"strokes of up to {most} segments are longer than the {segments} that"
      " there is room for: lower strokes.number or strokes.max_vertex, or raise"
      " the room (segments)"
    )


def random_walk(
  key: jax.Array, strokes: Strokes, side: int, segments: int
) -> Segments:
  """The segments of a mask's strokes; those not needed have the width -1.

  A stroke begins anywhere, and its segments end within the mask. The direction
  of segment i of a stroke is a random angle, or 2 pi less it if i is even. Half
  of the strokes, at random, are mirrored left to right, and half top to bottom.

  Raises:
    SettingError: see `check_strokes`, unless hyper-parameters are traced.
  """
  if not any(isinstance(value, jax.core.Tracer) for value in strokes):
    check_strokes(strokes, segments)
  thinnest = jnp.minimum(_THINNEST, strokes.max_width)
  vertices = jnp.asarray(strokes.max_vertex) - strokes.min_vertex + 1

  def segment(state, random):
    position, number, last, stroke, mirror = state
    begins = number >= last
    stroke = stroke + begins
    number = jnp.where(begins, 0, number)
    last = jnp.where(begins, strokes.min_vertex + random[0] * vertices, last)
    last = jnp.maximum(jnp.floor(last), 1)
    position = jnp.where(begins, random[1:3] * (side - 1), position)
    mirror = jnp.where(begins, jnp.where(random[3:5] < 0.5, -1, 1), mirror)
    angle = random[5] * strokes.max_angle
    angle = jnp.where(number % 2 == 0, 2 * math.pi - angle, angle)
    length = random[6] * strokes.max_length * side
    step = length * mirror * jnp.stack([jnp.sin(angle), jnp.cos(angle)])
    end = jnp.clip(position + step, 0, side - 1)
    width = thinnest + random[7] * (strokes.max_width - thinnest)
    width = jnp.where(stroke <= jnp.floor(strokes.number), width * side, -1.0)
    return (end, number + 1, last, stroke, mirror), (position, end, width)

  first = (jnp.zeros(2), 0, 0.0, 0, jnp.ones(2))
  randoms = jax.random.uniform(key, (segments, 8))
  return Segments(*jax.lax.scan(segment, first, randoms)[1])


def draw_bits(segments: Segments, side: int) -> jax.Array:
  """Draws segments with a round brush.

  Returns:
    uint32 [ceil(side / 32), side]: pixel y of a column is bit y % 32 of word
    y // 32, 1 if it is drawn.
  """
  # All of them first: XLA would work them out again for each word.
  intervals = jax.vmap(lambda segment: _intervals(segment, side))(segments)
  first = _WORD * jnp.arange(-(-side // _WORD))[:, None]

  def draw(bits, interval):
    low, high = interval
    return bits | _ones(high - first) & ~_ones(low - first), None

  blank = jnp.zeros((len(first), side), jnp.uint32)
  return jax.lax.scan(draw, blank, intervals)[0]


def draw(segments: Segments, side: int) -> jax.Array:
  """As `draw_bits`, but pixels: bool [side, side]."""
  return _unpacked(draw_bits(segments, side))


def _intervals(segment, side):
  """The pixels low <= y < high of each column that one segment covers, int16.

  The highest point of column x is the least of y(t) - sqrt(r^2 - (x - x(t))^2)
  along the segment (x(t), y(t)), 0 <= t <= 1: a convex function of t, so that
  its least value on the whole line, cut to [0, 1], is the one looked for.
  """
  start, end, width = segment
  column = jnp.arange(side, dtype=jnp.float32) - start[0]
  across, down = end - start
  radius = width / 2
  length = jnp.maximum(jnp.hypot(across, down), 1e-6)
  # A vertical segment is taken for one that leans a little: an end is highest.
  slope = jnp.where(jnp.abs(across) < 1e-6, 1e-6, across)
  lean = radius * down / length * jnp.sign(slope)

  def edge(sign):
    t = jnp.clip((column - sign * lean) / slope, 0, 1)
    square = radius**2 - (column - t * across) ** 2
    half = jnp.sqrt(jnp.maximum(square, 0))
    return start[1] + t * down - sign * half, square

  (top, square), (bottom, _) = edge(1), edge(-1)
  covered = (square >= 0) & (width > 0)
  low = jnp.where(covered, jnp.ceil(top), side)
  high = jnp.where(covered, jnp.floor(bottom) + 1, 0)
  return [jnp.clip(y, 0, side).astype(jnp.int16) for y in (low, high)]


def _ones(count):
  """Words whose lowest `count` bits are 1: none below 0, all above 31."""
  count = jnp.clip(count, 0, _WORD).astype(jnp.uint32)
  some = jnp.left_shift(np.uint32(1), count) - 1
  return jnp.where(count < _WORD, some, _FULL)


def _packed(pixels):
  """bool [S, S] -> uint32 [ceil(S / 32), S]."""
  side = pixels.shape[1]
  pixels = jnp.pad(pixels, ((0, -side % _WORD), (0, 0)))
  words = pixels.reshape(-1, _WORD, side).astype(jnp.uint32)
  bit = jnp.arange(_WORD, dtype=jnp.uint32)[:, None]
  return jnp.left_shift(words, bit).sum(1, dtype=jnp.uint32)


def _unpacked(bits):
  row = np.arange(bits.shape[1])
  bit = np.uint32(1) << (row % _WORD).astype(np.uint32)
  return (bits[row // _WORD] & bit[:, None]) != 0
