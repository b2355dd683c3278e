"""Faces of a StyleGAN2 generator: of which conditions, and how they are drawn.

The condition of a face is of float32 numbers, 0 where one is unknown:

| number | what |
|---|---|
| one for each attribute | 1 has it, -1 has it not |
| yaw, pitch | radians |
| skin | individual typology angle of the cheeks, degrees / 90 |
| x, y of five points | from the template, in tenths of its eyes' distance |
| one for each point | 1 if it is known |

Those of points are there if the generator is told of them (model.points).

Truncation is towards the mean of w under the same condition, of fixed noise,
since the mean of all would take the condition away, as Dobler et al., "Art
Creation with Multi-Conditional StyleGANs", IJCAI 2022, found.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from jaxpriv.data import alignment, landmarks, safetensors, skin
from jaxpriv.data.records import ARCFACE_LANDMARKS
from jaxpriv.data.safetensors import Named
from jaxpriv.models import stylegan2
from jaxpriv.training import builders
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training.method import State

MAPPING, SYNTHESIS = "mapping", "synthesis"
# Conditions behind those of attributes.
MEASURED = ("yaw", "pitch", "skin")
# Noise whose mean w is the centre of a condition.
_CENTRE = 128


class Generator(NamedTuple):
  """Networks that draw faces, without their parameters.

  Attributes:
    mapping: noise and conditions to w.
    synthesis: w and keys to images in [-1, 1].
    latent: numbers of noise.
  """

  mapping: stylegan2.Mapping
  synthesis: stylegan2.Synthesis
  latent: int

  @property
  def networks(self) -> dict[str, nn.Module]:
    """By name, as a state has their parameters."""
    return {MAPPING: self.mapping, SYNTHESIS: self.synthesis}


def condition(
  attributes: jax.Array,
  yaw: jax.Array,
  pitch: jax.Array,
  angle: jax.Array,
  points: jax.Array | None = None,
) -> jax.Array:
  """Conditions float32 [B, C] of faces; see the table of this module.

  Args:
    attributes: [B, A], 1 and 0 for yes and no; what is below 0 is unknown.
    yaw: [B] in radians; NaN is unknown, as for the others.
    pitch: likewise.
    angle: individual typology angle [B] of skin, in degrees.
    points: [B, 5, 2], as `displacements` gives them; None for generators that
      are not told of points.

  Returns:
    of C = A + 3 numbers, or A + 18 with points.
  """
  signs = jnp.where(attributes < 0, 0, 2 * attributes - 1)
  columns = [signs, jnp.stack([yaw, pitch, angle / 90], 1)]
  if points is not None:
    known = jnp.isfinite(points).all(-1)
    away = jnp.where(known[..., None], points, 0)
    columns += [away.reshape(len(away), -1), known]
  made = jnp.concatenate([x.astype(jnp.float32) for x in columns], 1)
  return jnp.nan_to_num(made, nan=0.0)


def displacements(five: jax.Array, side: int, align: str) -> jax.Array:
  """How far points [B, 5, 2] of faces lie from the template.

  The template is the mean of ArcFace's and of its mirror image, so that points
  of a mirrored photograph lie as far away on the other side.

  Args:
    five: in pixels, in the order of `records.ARCFACE_LANDMARKS`; unknown ones
      are NaN.
    side: of the images.
    align: how faces were framed; by none but `alignment.BY_POINTS` do points
      come near a template, and all are unknown.

  Returns:
    tenths of the distance of the template's eyes, [B, 5, 2]; NaN is unknown.
  """
  if align not in alignment.BY_POINTS:
    return unknown_points(len(five))
  template = alignment.template(side, align)
  other = template[landmarks.mirrored(ARCFACE_LANDMARKS)]
  template = (template + other * [-1, 1] + [side - 1, 0]) / 2
  eyes = np.linalg.norm(template[1] - template[0])
  return (10 / eyes) * (five - template)


def unknown_points(count: int) -> jax.Array:
  """Points [count, 5, 2] for `condition`, none of which is asked for."""
  return jnp.full((count, len(ARCFACE_LANDMARKS), 2), jnp.nan)


def condition_of(
  batch: Mapping[str, Any],
  align: str = "landmarks",
  points: jax.Array | None = None,
) -> jax.Array:
  """Conditions float32 [B, C] of the photographs of a batch.

  Args:
    batch: with images, attributes, and poses and landmarks if they are known.
    align: how faces were framed, where landmarks are not known.
    points: see `condition`.
  """
  images = batch["image"]
  pose = batch.get("pose")
  if pose is None:
    pose = jnp.full((len(images), 3), jnp.nan)
  colour = skin.cheeks(images, batch.get("landmarks"), align)
  angle = skin.typology_angle(colour)
  attributes = batch["attributes"].astype(jnp.int32)
  return condition(attributes, pose[:, 0], pose[:, 1], angle, points)


def generate(
  generator: Generator,
  state: State,
  condition: jax.Array,
  keys: jax.Array,
  truncation: float | jax.Array = 0.7,
) -> jax.Array:
  """Draws faces, each of its key and its condition alone; pure and jittable.

  Args:
    generator: its networks.
    state: of the phase that trained it, or as `loaded` gives it.
    condition: [B, C], as the function `condition` makes them.
    keys: random keys [B].
    truncation: 1 draws faces as various as those learned from, less draws
      likelier ones, 0 one face for each condition.

  Returns:
    float32 [B, S, S, 3] in [0, 1]
  """
  params = builders.variables(state)["params"]
  applies = {
    name: lambda *args, name=name, network=network: network.apply(
      {"params": params[name]}, *args
    )
    for name, network in generator.networks.items()
  }
  return drawn(applies, generator.latent, condition, keys, truncation)


def arrays_of(state: State) -> dict[str, jax.Array]:
  """The averaged generator by paths of parameters, as "mapping/layer_0/bias".

  `safetensors.write` makes a file of them.
  """
  params = builders.variables(state)["params"]
  both = {name: params[name] for name in (MAPPING, SYNTHESIS)}
  return flatten_dict(both, sep="/")


def loaded(
  generator: Generator,
  arrays: Mapping[str, np.ndarray],
  conditions: int,
  table: Mapping[str, Named] | None = None,
) -> State:
  """A state for `generate`, of a generator that was trained elsewhere.

  Args:
    generator: networks of the sizes of that generator.
    arrays: by name, as `safetensors.read` gives them.
    conditions: numbers of a condition; 0 for a generator that has none.
    table: path of a parameter -> where it is, such as
      `stylegan2_arrays.table(side)`; None: arrays are named as by `arrays_of`.

  Raises:
    DataError: arrays are missing, or of another shape.
  """
  zeros = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)
  inputs = {
    MAPPING: (zeros(1, generator.latent), zeros(1, conditions)),
    SYNTHESIS: (zeros(1, generator.mapping.width),),
  }
  shapes = {
    name: jax.eval_shape(network.init, jax.random.key(0), *inputs[name])
    for name, network in generator.networks.items()
  }
  params = {name: shape["params"] for name, shape in shapes.items()}
  if table is None:
    table = {path: Named(path) for path in flatten_dict(params, sep="/")}
  return {
    "params": safetensors.arranged(arrays, table, params),
    "batch_stats": {},
  }


def drawn(
  applies: Mapping[str, Callable],
  latent: int,
  condition: jax.Array,
  keys: jax.Array,
  truncation: float | jax.Array,
) -> jax.Array:
  """As `generate`, by networks with their parameters.

  Args:
    applies: name of a network -> its apply function.
    latent: numbers of noise.
    condition: as there, and what follows.
    keys: random keys.
    truncation: a number.
  """
  draw = lambda key: jax.random.normal(jax.random.fold_in(key, 0), (latent,))
  noise = mesh_lib.constrain(jax.vmap(draw)(keys))
  w = applies[MAPPING](noise, condition)
  fixed = jax.random.normal(jax.random.key(0), (_CENTRE, latent))
  wide = (len(condition), _CENTRE)
  centre = applies[MAPPING](
    mesh_lib.constrain(jnp.broadcast_to(fixed, (*wide, latent))),
    jnp.broadcast_to(condition[:, None], (*wide, condition.shape[1])),
  ).mean(1)
  w = centre + truncation * (w - centre)
  own = jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys)
  return jnp.clip((applies[SYNTHESIS](w, own) + 1) / 2, 0, 1)
