"""Regions of photographs, cut out for the network, and what they show.

A region is labelled for a task where its overlap with the face is large enough
(Ranjan et al. 2019, section 3.2); mirrored regions have mirrored labels.
"""

import jax
import jax.numpy as jnp

from jaxpriv.data import regions
from jaxpriv.data.records import AFLW_LANDMARKS, LANDMARKS
from jaxpriv.metrics import detection

# A region whose overlap with a face is at least FACE shows it, one of at most
# NO_FACE does not. Those between are labelled neither way.
FACE, NO_FACE = 0.5, 0.35

# `records.LANDMARKS` ends with the 21 points of AFLW, which begin here.
POINTS = len(LANDMARKS) - len(AFLW_LANDMARKS)


def cut(image, region, options):
  """Cuts out regions [R, 3] and their surroundings, for the network."""
  around = region * jnp.array([1, 1, options.context], jnp.float32)
  return regions.cut(image, around, options.side)


def drawn(key, batch, options) -> dict[str, jax.Array]:
  """Random regions of each photograph, half of them mirrored."""
  size = batch["image"].shape[1]
  near, anywhere = options.near, options.anywhere

  def one(row, image, box):
    first, second = jax.random.split(jax.random.fold_in(key, row))
    region = regions.draw(first, box, size, near, anywhere)
    mirrored = jax.random.bernoulli(second, shape=(near + anywhere,))
    crops = cut(image, region, options)
    flip = mirrored[:, None, None, None]
    crops = jnp.where(flip, crops[:, :, ::-1], crops)
    return {"crops": crops, "regions": region, "mirrored": mirrored}

  rows = jnp.arange(len(batch["image"]))
  return jax.vmap(one)(rows, batch["image"], batch["box"])


def fixed(batch, options) -> dict[str, jax.Array]:
  """The face and a corner of each photograph, where nothing is drawn."""
  size = batch["image"].shape[1]
  corner = jnp.array([size / 4, size / 4, size / 2], jnp.float32)
  face = regions.square_of(batch["box"])
  face = jnp.where(jnp.isfinite(face), face, jnp.full(3, size / 2))
  both = jnp.stack([face, jnp.broadcast_to(corner, face.shape)], 1)
  crops = jax.vmap(lambda i, r: cut(i, r, options))(batch["image"], both)
  return {
    "crops": crops,
    "regions": both,
    "mirrored": jnp.zeros(both.shape[:2], bool),
  }


def labels(batch, views, gender) -> dict[str, tuple]:
  """task -> (labels [B, R, ...], which are known [B, R, ...])."""
  region, mirrored = views["regions"], views["mirrored"][..., None]
  overlap = detection.iou(regions.box_of(region), batch["box"][:, None])
  boxed = jnp.isfinite(batch["box"]).all(-1)[:, None]
  shows, near = overlap >= FACE, overlap > NO_FACE
  points = batch["landmarks"][:, None, POINTS:]
  points = (points - region[..., None, :2]) / region[..., None, 2:]
  flipped = points[:, :, regions.MIRRORED] * jnp.array([-1.0, 1.0])
  points = jnp.where(mirrored[..., None], flipped, points)
  seen = jnp.broadcast_to(
    batch["visibility"][:, None, POINTS:], points.shape[:-1]
  )
  seen = jnp.where(mirrored, seen[..., regions.MIRRORED], seen)
  located = (seen == 1) & jnp.isfinite(points).all(-1) & near[..., None]
  pose = jnp.broadcast_to(batch["pose"][:, None], (*near.shape, 3))
  pose = jnp.where(mirrored, pose * jnp.array([-1.0, 1.0, -1.0]), pose)
  tasks = {
    "detection": (shows.astype(jnp.int32), boxed & (shows | ~near)),
    "landmarks": (points, located),
    "visibility": (seen.astype(jnp.float32), (seen >= 0) & near[..., None]),
    "pose": (pose, jnp.isfinite(pose) & shows[..., None]),
  }
  if gender is not None:
    label = batch["attributes"][:, None, gender].astype(jnp.int32)
    label = jnp.broadcast_to(label, shows.shape)
    tasks["gender"] = (label, (label >= 0) & shows)
  return tasks


def labels_of_faces(batch, face, gender) -> dict[str, tuple]:
  """Labels of the face itself, a region [B, 3]: task -> [B, ...], as above."""
  views = {
    "regions": face[:, None],
    "mirrored": jnp.zeros((len(face), 1), bool),
  }
  return {
    task: (label[:, 0], known[:, 0])
    for task, (label, known) in labels(batch, views, gender).items()
  }
