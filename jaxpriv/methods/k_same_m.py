"""k-Same-M: the average of k people in an active appearance model.

Gross, Sweeney, de la Torre, Baker, "Model-Based Face De-Identification", CVPR
Workshops 2006. Averages of pixels show ghosts where features do not coincide.
Here a face is a shape, the places of its landmarks, and a texture, its pixels
warped to the mean shape; both are averaged in the space of their principal
components (Cootes, Edwards, Taylor, "Active Appearance Models", TPAMI 23(6),
2001, section 2), and the average texture is warped to the average shape.

Groups are of people, as in `k_same`, and so is the bound: all images of a
group's people are released as one, rank-1 <= 1/k averaged over people of a
closed set that is released once. The model is fitted to the set itself.

Decided here, as the paper leaves it open:

* Points are the 21 of AFLW; the five of ArcFace stand in for those that are the
  same. A point that most photographs lack is left out, and one that a single
  photograph lacks lies where the mean shape has it. So a face without landmarks
  has the mean shape, and its texture is that of the framed image.
* Warps are thin-plate splines, held at corners and sides of the frame. They
  reach the forehead and the jaw, where no landmarks are.
* Place, size and roll are not of the shape (Procrustes): released faces are
  framed as ArcFace frames them, inside an ellipse on plain grey.
"""

from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates
from ml_collections import ConfigDict

from jaxpriv.data import alignment
from jaxpriv.data.records import AFLW_LANDMARKS, ARCFACE_LANDMARKS
from jaxpriv.errors import SettingError
from jaxpriv.privacy import microaggregation
from jaxpriv.training.method import Outputs, Phase, untrained

# ArcFace's five among the points of AFLW.
FIVE = np.array(
  [
    AFLW_LANDMARKS.index(name)
    for name in ("left_eye_center", "right_eye_center", "nose_center",
                 "mouth_left", "mouth_right")
  ]
)  # fmt: skip
# The face in ArcFace's square of side 1: centre and half axes, x and y. Its rim
# fades to the background over a share of the half axes.
CENTRE, AXES, RIM = (0.5, 0.56), (0.4, 0.5), 0.12
BACKGROUND = 0.5
# Corners and middles of the sides of that square, where warps stand still.
HELD = np.array(
  [[x, y] for x in (0, 0.5, 1) for y in (0, 0.5, 1) if (x, y) != (0.5, 0.5)]
)
# Splines may miss their points: these are rarely exact to a hundredth of the
# side.
SMOOTHING = 1e-3
ITERATIONS = 3  # of the Procrustes analysis


def phases(config: ConfigDict) -> list[Phase]:
  """One phase without training.

  Args:
    config: with model.k, at least 2, and model.components, at least 1, of each
      of the three analyses.

  Returns:
    a phase "k_same_m". Its output "image" is a function of the whole set: give
    it one batch with everybody in it. It returns images [B, H, W, C], zeros for
    padding rows.
  """
  model = config.model
  if model.k < 2:
    raise SettingError(f"config.model.k is at least 2, not {model.k}")
  if model.components < 1:
    raise SettingError(
      f"config.model.components is at least 1, not {model.components}"
    )

  def protect(state, frozen, batch):
    return k_same_m(
      batch["image"],
      batch["landmarks"],
      model.k,
      identity=batch.get("identity"),
      components=model.components,
      padding=batch.get("padding"),
    )

  method = untrained(Outputs(image=protect))
  return [Phase("k_same_m", (), method)]


def unfit(config: ConfigDict, arrays: Mapping[str, np.ndarray]) -> str:
  """Why these records cannot be protected so; "" if they can."""
  reason = microaggregation.unfit(config.model.k, arrays["identity"])
  if reason or "landmarks" not in arrays:
    return reason  # a release reads its photographs later
  placed = int(np.asarray(_placed(arrays["landmarks"])).sum())
  total = len(arrays["landmarks"])
  if 2 * placed < total:
    return (
      f"its model of faces needs {', '.join(ARCFACE_LANDMARKS)} of at least"
      f" half of the photographs, and {placed} of {total} have them: add"
      " landmarks to labels.csv"
    )
  return ""


def k_same_m(
  images: jax.Array,
  landmarks: jax.Array,
  k: int,
  *,
  identity: jax.Array | None = None,
  components: int = 64,
  padding: jax.Array | None = None,
) -> jax.Array:
  """Releases a closed set of faces.

  Args:
    images: [B, H, W, C] in [0, 1].
    landmarks: [B, 26, 2], x and y in pixels, NaN unknown, as in
      `jaxpriv.data.records`.
    k: least number of people who share a release.
    identity: int [B]; None where every row is another person.
    components: number of principal components of shape, of texture, and of both
      together.
    padding: bool [B], rows to leave out.

  Returns:
    [B, H, W, C], zeros for padding rows.

  Raises:
    ValueError: if the set has fewer than k people, an identity is unknown, or
      most images lack one of the five points of ArcFace. Under `jax.jit` values
      cannot be looked at: the output is then NaN.
  """
  landmarks = jnp.asarray(landmarks, jnp.float32)
  people, padding = microaggregation.people_of(
    len(images), identity, padding, k
  )
  refused = _refused(landmarks, padding)
  if not isinstance(refused, jax.core.Tracer) and refused:
    raise ValueError(
      "k-Same-M needs eyes, nose and corners of the mouth of at least half of"
      " the images: give their landmarks"
    )
  return _k_same_m(images, landmarks, people, padding, k, components)


def _points(landmarks):
  """The 21 points [B, 21, 2] of AFLW, NaN unknown."""
  five, aflw = landmarks[:, : len(FIVE)], landmarks[:, len(FIVE) :]
  own = aflw[:, FIVE]
  known = jnp.isfinite(own).all(-1, keepdims=True)
  return aflw.at[:, FIVE].set(jnp.where(known, own, five))


def _placed(landmarks):
  """bool [B], rows where eyes, nose and mouth are known, and not one point."""
  five = _points(jnp.asarray(landmarks, jnp.float32))[:, FIVE]
  return jnp.isfinite(five).all((1, 2)) & (jnp.ptp(five, axis=1).max(-1) > 1)


def _refused(landmarks, padding):
  placed = _placed(landmarks) & ~padding
  return 2 * placed.sum() < (~padding).sum()


@partial(jax.jit, static_argnames=("k", "components"))
def _k_same_m(images, landmarks, people, padding, k, components):
  rows, height, width, channels = images.shape
  pixels = images.astype(jnp.float32)
  pixels = jnp.where(padding[:, None, None, None], 0, pixels)
  # All geometry is in ArcFace's square of side 1, centred in the frame.
  side = min(height, width)
  corner = (jnp.array([width, height]) - side) / 2
  inside = lambda points: (points - corner) / side
  y, x = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")
  frame = inside(jnp.stack([x, y], -1).reshape(-1, 2).astype(jnp.float32))
  face = _face(frame)

  placed = _placed(landmarks) & ~padding
  shapes, mean_shape, used, back = _procrustes(
    inside(_points(landmarks)), placed
  )
  # From the mean shape to each photograph, one spline for all of them.
  targets = jnp.concatenate(
    [shapes, jnp.broadcast_to(HELD, (rows, *HELD.shape))], 1
  )
  spline = _spline(mean_shape, used, back(targets))
  places = jnp.einsum(
    "mc,bcd->bmd", _basis(frame, mean_shape, used), spline, precision="highest"
  )
  textures = jax.vmap(_sample)(pixels, places * side + corner)
  textures = jnp.where(face[:, None] > 0, textures, BACKGROUND)

  # A person is the mean of their placed images, or of all if none is.
  some = jax.ops.segment_max(placed.astype(jnp.int32), people.slot, rows)
  keep = jnp.where(some[people.slot] > 0, placed, ~padding)
  of_people = lambda values: microaggregation.means(
    values.reshape(rows, -1), people.slot, keep
  )
  encode, decode = _appearance(
    of_people(shapes), of_people(textures), people.present, components
  )
  part = jnp.zeros(rows, jnp.int32)
  group = microaggregation.groups(encode, people.present, part, k)
  count = max(rows // k, 1)
  average = microaggregation.means(encode, group, people.present)[:count]
  shape, texture = decode(average)
  # One after the other. It bounds the memory; and LAPACK solves a batch by the
  # threads that another device of the same CPU may be holding: both then hang.
  released = jax.lax.map(
    lambda pair: _synthesise(
      pair[0], pair[1], frame, mean_shape, used, face, side, corner
    ),
    (
      shape.reshape(count, -1, 2),
      texture.reshape(count, height, width, channels),
    ),
  )
  # Gathered by group, so that the releases of a group are equal to the bit.
  output = released[group[people.slot]]
  refused = people.fewer_than(k) | _refused(landmarks, padding)
  output = jnp.where(refused, jnp.nan, output)
  output = jnp.where(padding[:, None, None, None], 0, output)
  return output.astype(images.dtype)


def _face(frame):
  """How much of a face there is at places [M, 2], [M] in [0, 1]."""
  distance = jnp.linalg.norm(
    (frame - jnp.array(CENTRE)) / jnp.array(AXES), axis=1
  )
  return jnp.clip((1 - distance) / RIM, 0, 1)


def _procrustes(points, placed):
  """Shapes without place, size and roll (generalised Procrustes analysis).

  Args:
    points: [B, K, 2], NaN unknown.
    placed: bool [B], rows whose five points are known; others get the mean.

  Returns:
    shapes [B, K, 2]; their mean [K, 2], whose five points lie as in ArcFace's
    square; bool [K], points that at least half of the placed rows have; and a
    function that takes [B, N, 2] to where they are in each image.
  """
  # Complex numbers: a similarity of the plane is one factor and one shift.
  known = jnp.isfinite(points).all(-1) & placed[:, None]
  z = jnp.where(known, points[..., 0] + 1j * points[..., 1], 0)
  used = 2 * known.sum(0) >= jnp.maximum(placed.sum(), 1)
  weight = (known & used).astype(jnp.float32)
  template = jnp.asarray(alignment.arcface_template(1), jnp.float32)
  five = jnp.zeros(len(AFLW_LANDMARKS), jnp.float32).at[FIVE].set(1)
  home = jnp.zeros(len(five), z.dtype)
  home = home.at[FIVE].set(template[:, 0] + 1j * template[:, 1])

  def fit(source, target, weight):
    share = weight / jnp.maximum(weight.sum(-1, keepdims=True), 1)
    source_mean = (share * source).sum(-1, keepdims=True)
    target_mean = (share * target).sum(-1, keepdims=True)
    centred = source - source_mean
    spread = (share * jnp.abs(centred) ** 2).sum(-1, keepdims=True)
    shared = (share * centred.conj() * (target - target_mean)).sum(
      -1, keepdims=True
    )
    empty = spread <= 0
    factor = jnp.where(empty, 1, shared / jnp.where(empty, 1, spread))
    return factor, jnp.where(empty, 0, target_mean - factor * source_mean)

  def mean_of(factor, shift):
    total = (weight * (factor * z + shift)).sum(0)
    mean = jnp.where(
      weight.sum(0) > 0, total / jnp.maximum(weight.sum(0), 1), home
    )
    factor, shift = fit(mean, home, five)
    return factor * mean + shift

  factor, shift = fit(z, home, weight * five)
  mean = mean_of(factor, shift)
  for _ in range(ITERATIONS):
    factor, shift = fit(z, mean, weight)
    mean = mean_of(factor, shift)
  shapes = jnp.where(weight > 0, factor * z + shift, mean)

  def back(points):
    moved = (points[..., 0] + 1j * points[..., 1] - shift) / factor
    return jnp.stack([moved.real, moved.imag], -1)

  plane = lambda z: jnp.stack([z.real, z.imag], -1)
  return plane(shapes), plane(mean), used, back


def _appearance(shapes, textures, present, components):
  """The model of people's shapes [P, 2K] and textures [P, M].

  Returns:
    parameters [P, n], and a function from [G, n] to shapes and textures.
  """
  everybody = jnp.zeros(len(present), jnp.int32)

  def analyse(values):
    mean = microaggregation.means(values, everybody, present)[0]
    centred = jnp.where(present[:, None], values - mean, 0)
    return mean, *microaggregation.principal(centred, components)

  mean_shape, shape, shape_axes = analyse(shapes)
  mean_texture, texture, texture_axes = analyse(textures)
  # Weighted so that both vary as much in total (Cootes et al., section 2.3).
  ratio = jnp.sum(jnp.square(texture)) / jnp.sum(jnp.square(shape))
  scale = jnp.where(jnp.isfinite(ratio), jnp.sqrt(ratio), 1)
  both = jnp.concatenate([scale * shape, texture], 1)
  parameters, axes = microaggregation.principal(both, components)

  def decode(parameters):
    product = partial(jnp.matmul, precision="highest")
    both = product(parameters, axes)
    shape, texture = both[:, : shape_axes.shape[0]] / scale, both
    texture = both[:, shape_axes.shape[0] :]
    return (
      mean_shape + product(shape, shape_axes),
      mean_texture + product(texture, texture_axes),
    )

  return parameters, decode


def _synthesise(shape, texture, frame, mean_shape, used, face, side, corner):
  """The image [H, W, C] of a texture [H, W, C] in a shape [K, 2]."""
  goal = jnp.concatenate([mean_shape, jnp.asarray(HELD, jnp.float32)])
  spline = _spline(shape, used, goal)
  places = jnp.matmul(_basis(frame, shape, used), spline, precision="highest")
  layers = jnp.concatenate([texture, face.reshape(*texture.shape[:2], 1)], -1)
  sampled = _sample(layers, places * side + corner).reshape(layers.shape)
  colour, there = sampled[..., :-1], sampled[..., -1:]
  return jnp.clip(there * colour + (1 - there) * BACKGROUND, 0, 1)


def _centres(shape, used):
  centres = jnp.concatenate([shape, jnp.asarray(HELD, jnp.float32)])
  return centres, jnp.concatenate([used, jnp.ones(len(HELD), bool)])


def _basis(places, shape, used):
  """Values [M, N + 3] of a spline's functions at places [M, 2]."""
  centres, used = _centres(shape, used)
  square = jnp.sum(jnp.square(places[:, None] - centres), -1)
  # r^2 log r, which is 0 at its centre.
  radial = 0.5 * square * jnp.log(jnp.where(square > 0, square, 1))
  ones = jnp.ones((len(places), 1))
  return jnp.concatenate([radial * used, ones, places], 1)


def _spline(shape, used, targets):
  """The coefficients [..., N + 3, 2] that take a shape [K, 2] to targets.

  Bookstein, "Principal Warps", TPAMI 11(6), 1989.

  Args:
    shape: its points, to which the places that are held are added.
    used: bool [K].
    targets: [..., N, 2], of the points and of the places that are held.
  """
  centres, used = _centres(shape, used)
  count = len(centres)
  basis = _basis(centres, shape, used[: len(shape)]) * used[:, None]
  # A point that is not used has its own equation: its coefficient is 0.
  diagonal = jnp.where(used, SMOOTHING, 1)
  system = jnp.zeros((count + 3, count + 3))
  system = system.at[:count].set(basis)
  system = system.at[:count, :count].add(jnp.diag(diagonal))
  system = system.at[count:, :count].set(basis[:, count:].T)
  goal = jnp.where(used[:, None], targets, 0)
  goal = jnp.concatenate([goal, jnp.zeros((*goal.shape[:-2], 3, 2))], -2)
  return jnp.linalg.solve(system, goal)


def _sample(image, places):
  """Bilinear values [M, C] of an image [H, W, C] at places [M, 2], x and y.

  Outside, the border is repeated.
  """
  coordinates = [places[:, 1], places[:, 0]]
  return jax.vmap(
    lambda channel: map_coordinates(channel, coordinates, 1, "nearest"),
    in_axes=-1,
    out_axes=-1,
  )(image)
