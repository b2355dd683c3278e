"""Faces pasted into photographs, so that no seam shows; on the device.

| way | inside the mask |
|---|---|
| `feather` | the face, as opaque as the mask says |
| `multi_band` | the same, coarse structures over a wide rim, fine ones over a narrow one |
| `poisson` | the differences of neighbouring pixels are the face's, the rim is the photograph's |

All images are float32 [B, H, W, 3], all masks float32 [B, H, W] in [0, 1], 1
where the face is to be. Where a mask is 0, `feather` and `poisson` leave the
photograph as it is, and `multi_band` nearly so.
"""  # noqa: E501

import functools

import jax
import jax.numpy as jnp

from jaxpriv.data.filters import gaussian_blur

# Between those of `match_sharpness`, in pixels; 0 leaves a face as it is.
SIGMAS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


def feather(
  face: jax.Array, photograph: jax.Array, alpha: jax.Array
) -> jax.Array:
  """The face over the photograph, as opaque as alpha [B, H, W] says."""
  return photograph + alpha[..., None] * (face - photograph)


def multi_band(
  face: jax.Array, photograph: jax.Array, mask: jax.Array, levels: int = 4
) -> jax.Array:
  """Each band of frequencies is joined over a rim of its own width.

  Burt and Adelson, "A Multiresolution Spline with Application to Image
  Mosaics", ACM Transactions on Graphics 2(4), 1983.

  Args:
    face: [B, H, W, 3]; H and W divide by 2^levels.
    photograph: likewise.
    mask: [B, H, W].
    levels: how often sides are halved.

  Raises:
    ValueError: sides cannot be halved so often.
  """
  if any(side % 2**levels for side in mask.shape[1:]):
    raise ValueError(
      f"images of {mask.shape[1]} x {mask.shape[2]} pixels cannot be halved"
      f" {levels} times"
    )
  alpha = mask[..., None]
  bands = []
  for _ in range(levels):
    smaller = _reduced(face), _reduced(photograph)
    fine = face - _expanded(smaller[0]), photograph - _expanded(smaller[1])
    bands.append(fine[1] + alpha * (fine[0] - fine[1]))
    (face, photograph), alpha = smaller, _reduced(alpha)
  joined = photograph + alpha * (face - photograph)
  for band in reversed(bands):
    joined = _expanded(joined) + band
  return joined


def _smooth(x: jax.Array, axis: int, kernel: tuple[float, ...]) -> jax.Array:
  """A filter of five numbers along an axis; edges are repeated."""
  edges = [(0, 0)] * x.ndim
  edges[axis] = (2, 2)
  padded, length = jnp.pad(x, edges, mode="edge"), x.shape[axis]
  moved = [
    weight * jax.lax.slice_in_dim(padded, i, i + length, axis=axis)
    for i, weight in enumerate(kernel)
  ]
  return functools.reduce(jnp.add, moved)


def _reduced(x: jax.Array) -> jax.Array:
  for axis in (1, 2):
    x = _smooth(x, axis, BINOMIAL)
  return x[:, ::2, ::2]


def _expanded(x: jax.Array) -> jax.Array:
  """Twice as many rows and columns, linear between them; edges are repeated.

  By products with matrices: XLA fuses filters of one level into those of the
  next, on a CPU, and computes them again and again.
  """
  rows, columns = 2 * x.shape[1], 2 * x.shape[2]
  shape = (len(x), rows, columns, x.shape[3])
  return jax.image.resize(x, shape, "linear", precision="highest")


def poisson(
  face: jax.Array,
  photograph: jax.Array,
  mask: jax.Array,
  steps: int = 500,
  tolerance: float = 1e-5,
) -> jax.Array:
  """The face's differences, with the photograph all around.

  Perez, Gangnet, Blake, "Poisson Image Editing", ACM Transactions on Graphics
  22(3), 2003, equation (7), by conjugate gradients without a matrix. Pixels of
  the image's edge are the photograph's: there are no neighbours beyond.

  Args:
    face: [B, H, W, 3].
    photograph: [B, H, W, 3].
    mask: [B, H, W]; pixels above one half are solved for.
    steps: of the conjugate gradients at the most.
    tolerance: of the residual, relative to that at first.
  """
  inside = mask > 0.5
  for axis in (1, 2):
    ends = jnp.arange(mask.shape[axis])
    ends = (ends > 0) & (ends < mask.shape[axis] - 1)
    inside &= jnp.expand_dims(ends, [i for i in range(3) if i != axis])
  where = inside[..., None].astype(face.dtype)
  # Only what is to be added to the face is solved for: zero Laplacian within,
  # and what the photograph has more than the face around.
  rim = (1 - where) * (photograph - face)
  solve = functools.partial(_harmonic, steps=steps, tolerance=tolerance)
  added = jax.vmap(solve)(where, rim)
  return photograph + where * (face + added - photograph)


def _laplacian(x: jax.Array) -> jax.Array:
  """Four times each pixel of [H, W, C], less its four neighbours."""
  padded = jnp.pad(x, ((1, 1), (1, 1), (0, 0)))
  return (
    4 * x
    - padded[:-2, 1:-1]
    - padded[2:, 1:-1]
    - padded[1:-1, :-2]
    - padded[1:-1, 2:]
  )


def _harmonic(where, rim, steps, tolerance):
  """Returns [H, W, C]: 0 outside, and inside what continues `rim` smoothly."""
  wanted = -where * _laplacian(rim)
  solution, _ = jax.scipy.sparse.linalg.cg(
    lambda x: where * _laplacian(where * x),
    wanted,
    tol=tolerance,
    maxiter=steps,
  )
  return where * solution


def match_colour(
  face: jax.Array, photograph: jax.Array, mask: jax.Array
) -> jax.Array:
  """The face with the photograph's mean and deviation of each channel.

  Reinhard et al., "Color Transfer between Images", 2001, in RGB. They are taken
  where the mask is, of the face and of what it is to cover.

  Args:
    face: [B, H, W, 3].
    photograph: [B, H, W, 3].
    mask: [B, H, W], the weight of each pixel; without any, the face stays.
  """
  weight = mask[..., None]
  total = weight.sum((1, 2), keepdims=True)

  def moments(x):
    mean = (weight * x).sum((1, 2), keepdims=True) / jnp.maximum(total, 1e-6)
    squares = weight * jnp.square(x - mean)
    variance = squares.sum((1, 2), keepdims=True) / jnp.maximum(total, 1e-6)
    return mean, jnp.sqrt(variance + 1e-8)

  (mine, my_spread), (theirs, their_spread) = moments(face), moments(photograph)
  # A face of one colour has no contrast to stretch.
  gain = jnp.clip(their_spread / my_spread, 0.25, 4.0)
  return jnp.where(total > 0, (face - mine) * gain + theirs, face)


def match_sharpness(
  face: jax.Array, photograph: jax.Array, mask: jax.Array
) -> jax.Array:
  """The face, blurred until it is no sharper than what it is to cover.

  Sharpness is the mean square of a Laplacian of the grey image where the mask
  is. Of `SIGMAS` the least is taken that brings it to the photograph's.

  Args:
    face: [B, H, W, 3].
    photograph: [B, H, W, 3].
    mask: [B, H, W], the weight of each pixel.
  """

  def sharpness(x):
    edges = jax.vmap(_laplacian)(x.mean(-1, keepdims=True))[..., 0]
    # Beyond the image the Laplacian takes zeros.
    inside = mask.at[:, (0, -1)].set(0).at[:, :, (0, -1)].set(0)
    total = jnp.maximum(inside.sum((1, 2)), 1e-6)
    return (inside * jnp.square(edges)).sum((1, 2)) / total

  wanted, result = sharpness(photograph), face
  for sigma in reversed(SIGMAS):
    blurred = gaussian_blur(face, sigma) if sigma else face
    enough = sharpness(blurred) <= wanted
    result = jnp.where(enough[:, None, None, None], blurred, result)
    # The strongest blur is the best there is where none is enough.
    if sigma == SIGMAS[-1]:
      result = blurred
  return result


def fill(photograph: jax.Array, known: jax.Array) -> jax.Array:
  """Smooth colours in the place of pixels that are not known.

  By a pyramid: means of the pixels that are known in 2 x 2, again and again,
  and back from the coarsest to the finest wherever nothing finer is known
  (Gortler et al., "The Lumigraph", SIGGRAPH 1996, section 3.4).

  Args:
    photograph: [B, S, S, 3], S a power of two.
    known: bool or float [B, S, S]; the others' values play no part.

  Returns:
    [B, S, S, 3], the photograph where it is known; 0.5 where nothing is.

  Raises:
    ValueError: S is no power of two.
  """
  side = known.shape[1]
  if known.shape[2] != side or side & (side - 1):
    raise ValueError(f"{list(known.shape[1:])} is no square of a power of two")
  weight = known.astype(photograph.dtype)[..., None]
  colour = jnp.where(weight > 0, photograph, 0)
  pyramid = []
  while weight.shape[1] > 1:
    pyramid.append((colour, weight))
    total = _quartered(weight)
    colour = _quartered(weight * colour) / jnp.maximum(total, 1e-6)
    weight = jnp.minimum(total, 1)
  filled = jnp.where(weight > 0, colour, 0.5)
  for colour, weight in reversed(pyramid):
    filled = weight * colour + (1 - weight) * _expanded(filled)
  return filled


def _quartered(x: jax.Array) -> jax.Array:
  """Sums of 2 x 2 pixels of [B, H, W, C]."""
  rows, columns = x.shape[1] // 2, x.shape[2] // 2
  return x.reshape(len(x), rows, 2, columns, 2, -1).sum((2, 4))
