"""The records that a source of face images yields, and names all sources share.

A record is a dict of numpy arrays for one image:

| key | dtype and shape | meaning |
|---|---|---|
| image | uint8 [H, W, 3] | RGB |
| identity | int32 [] | the person; -1 unknown |
| attributes | int8 [A] | 0 or 1, -1 unknown; `source.attribute_names` |
| landmarks | float32 [26, 2] | (x, y) in pixels, NaN unknown; `LANDMARKS` |
| visibility | int8 [26] | 1 seen, 0 hidden, -1 unknown |
| pose | float32 [3] | yaw, pitch, roll in radians, NaN unknown |
| box | float32 [4] | x0, y0, x1, y1 in pixels, NaN unknown |
| domain | int32 [] | index into `DOMAINS` |

The record of a scene, a picture of several people, has room for N faces. All
fields but the image have a leading axis [N], `box` is called `boxes`, and these
fields are added:

| key | dtype and shape | meaning |
|---|---|---|
| boxes | float32 [N, 4] | x0, y0, x1, y1 in pixels, 0 where there is no face |
| valid | bool [N] | true for faces, false for what fills the rows |
| left_out | int32 [] | how many faces, the smallest, did not fit |

A batch is the same dict with a leading axis, plus `index` int64 [B], the
position of each record in its source, and `padding` bool [B], true for rows
that are not examples (the tail of an epoch, an unreadable file).
"""

import abc
import functools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxpriv.errors import UserError

Record = dict[str, np.ndarray]
Batch = dict[str, np.ndarray]

DOMAINS = ("human", "cat", "dog", "wild")

# Order of the ArcFace five-point template: left and right as seen in the image.
ARCFACE_LANDMARKS = (
  "left_eye",
  "right_eye",
  "nose",
  "left_mouth",
  "right_mouth",
)

# The 21 points of AFLW, in its own order; left and right as seen in the image.
AFLW_LANDMARKS = (
  "left_brow_left",
  "left_brow_center",
  "left_brow_right",
  "right_brow_left",
  "right_brow_center",
  "right_brow_right",
  "left_eye_left",
  "left_eye_center",
  "left_eye_right",
  "right_eye_left",
  "right_eye_center",
  "right_eye_right",
  "left_ear",
  "nose_left",
  "nose_center",
  "nose_right",
  "right_ear",
  "mouth_left",
  "mouth_center",
  "mouth_right",
  "chin_center",
)

LANDMARKS = ARCFACE_LANDMARKS + AFLW_LANDMARKS

# The image of a record whose pixels are not decoded yet.
NO_IMAGE = np.zeros((0, 0, 3), np.uint8)


class Photograph(NamedTuple):
  """One image and its record, before the image is framed.

  Attributes:
    image: opened, not yet decoded.
    fields: the record, with `NO_IMAGE` for its image.
    square: x0, y0, x1, y1 of the crop to take where the five points are not
      known; NaN where the box is not known either.
    name: names the image in errors.
  """

  image: Image.Image
  fields: Record
  square: np.ndarray
  name: str


class Source(abc.ABC):
  """A `grain.RandomAccessDataSource` of records, deterministic in the index.

  A source inherits from this and must define the first two attributes,
  `__getitem__` and `describe`; the other members have defaults, to be
  overridden where the source knows more.

  Attributes:
    attribute_names: the A names of `record["attributes"]`, spelled as in CelebA
      ("Male", "Big_Nose") where CelebA has the attribute.
    identities: int32 [len(source)], the person of every record, known without
      reading images, so that splits can be made by person; -1 unknown. In a
      source of scenes it is the group of people: nobody is in scenes of two
      groups.
    identity_names: the person or group behind each number of `identities`;
      empty where they have numbers only.
    attribute_values: int8 [faces, A], -1 unknown, where they are known without
      reading images; else None.
    points: field of records -> its values in all of them, as of landmarks and
      other labels, before framing, or a hash of them; empty where images must
      be read for that.
    default_attributes: the attributes to train on unless the config names
      others; empty for all that vary.
    no_attributes: column of labels -> why it is not one of `attribute_names`.
    batched: `batch` is the fast way to read, and no image can be unreadable.
      Otherwise records are read one by one.
    unreadable: descriptions of the images found unreadable so far; a pipeline
      adds to them.
    left_out: name -> why nothing of it is in the source, of the files that were
      seen and of records that turned out to be unusable; see `account`. A
      pipeline adds to it.
    seen: how many files were seen; None where records are no files.
    max_bad_share: share of unreadable images above which a run stops.
    image_size: side of the images, where all have one size.
    max_faces: the faces that a scene has room for; 0 if a record is one face.
  """

  attribute_names: tuple[str, ...]
  identities: np.ndarray
  identity_names: tuple[str, ...] = ()
  attribute_values: np.ndarray | None = None
  points: Mapping[str, np.ndarray] = {}
  default_attributes: tuple[str, ...] = ()
  no_attributes: Mapping[str, str] = {}
  batched: bool = False
  seen: int | None = None
  max_bad_share: float = 0.05
  max_faces: int = 0

  # Cached rather than a class attribute: every source has a list of its own.
  @functools.cached_property
  def unreadable(self) -> list[str]:
    return []

  @functools.cached_property
  def left_out(self) -> dict[str, str]:
    return {}

  @functools.cached_property
  def image_size(self) -> int:
    return len(self[0]["image"])

  def __len__(self) -> int:
    return len(self.identities)

  @abc.abstractmethod
  def __getitem__(self, index: int) -> Record:
    """Reads a record.

    Raises:
      UnreadableImageError: its image cannot be decoded.
    """

  @abc.abstractmethod
  def describe(self, index: int) -> str:
    """Names record `index` for a person: a file name, or a seed and number."""

  def name(self, index: int) -> str:
    """Names record `index` as it is called wherever the data lie."""
    return self.describe(index)

  def batch(self, indices: np.ndarray) -> Batch:
    """Stacks records; their images must have one size."""
    rows = [self[int(index)] for index in indices]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

  def photograph(self, index: int) -> Photograph | None:
    """Opens the image of a record without decoding it.

    Returns None where the source draws its images itself, in the size and
    frame asked for.
    """
    return None

  def person(self, number: int) -> str:
    """Names a person, the same in every source that contains them."""
    return self.identity_names[number] if self.identity_names else str(number)


class DataError(UserError, ValueError):
  """The data do not match the config; the message says what to do."""


class UnreadableImageError(DataError):
  """One image cannot be decoded; a pipeline counts and names it and goes on."""


def record(
  image: np.ndarray,
  *,
  identity: int = -1,
  attributes: np.ndarray | tuple[int, ...] = (),
  landmarks: np.ndarray | None = None,
  visibility: np.ndarray | None = None,
  pose: np.ndarray | None = None,
  box: np.ndarray | None = None,
  domain: int = 0,
) -> Record:
  """Builds a record; fields that are not passed are unknown."""
  points = len(LANDMARKS)

  def floats(value, shape):
    value = np.full(shape, np.nan) if value is None else value
    return np.asarray(value, np.float32).reshape(shape)

  return dict(
    image=image,
    identity=np.int32(identity),
    attributes=np.asarray(attributes, np.int8),
    landmarks=floats(landmarks, (points, 2)),
    visibility=(
      np.full(points, -1, np.int8)
      if visibility is None
      else np.asarray(visibility, np.int8)
    ),
    pose=floats(pose, 3),
    box=floats(box, 4),
    domain=np.int32(domain),
  )


def scene(image: np.ndarray, faces: Batch, max_faces: int) -> Record:
  """Builds the record of a picture of several faces.

  If there are more than `max_faces`, the largest are kept.

  Args:
    image: the picture.
    faces: fields of records with a leading axis, `box` and `attributes` among
      them; fields that are not passed are unknown.
    max_faces: rows of the record.
  """
  boxes = np.asarray(faces["box"], np.float32)
  areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
  largest = np.sort(np.argsort(-areas, kind="stable")[:max_faces])
  blank = record(image, attributes=(-1,) * faces["attributes"].shape[1])
  del blank["image"]
  rows = {
    name: np.repeat(np.asarray(value)[None], max_faces, 0)
    for name, value in blank.items()
  }
  for name in rows.keys() & faces.keys():
    rows[name][: len(largest)] = faces[name][largest]
  padded = rows.pop("box")
  padded[len(largest) :] = 0
  return dict(
    rows,
    image=image,
    boxes=padded,
    valid=np.arange(max_faces) < len(largest),
    left_out=np.array(len(boxes) - len(largest), np.int32),
  )
