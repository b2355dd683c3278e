"""What a source of face images yields, and the names every source shares.

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

A batch is the same dict with a leading axis, plus `index` int64 [B], the
position of each record in its source, and `padding` bool [B], true for rows
that are not examples (the tail of an epoch, an unreadable file).
"""

from typing import Protocol

import numpy as np

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


class Source(Protocol):
  """A `grain.RandomAccessDataSource` of records, deterministic in the index.

  Attributes:
    attribute_names: the A names of `record["attributes"]`, spelled as in CelebA
      ("Male", "Big_Nose") where CelebA has the attribute.
    identities: int32 [len(source)], the person of every record, known without
      reading images, so that splits can be made by person; -1 unknown.
  """

  @property
  def attribute_names(self) -> tuple[str, ...]: ...

  @property
  def identities(self) -> np.ndarray: ...

  def __len__(self) -> int: ...

  def __getitem__(self, index: int) -> Record: ...

  def describe(self, index: int) -> str:
    """Names record `index` for a person: a file name, or a seed and number."""
    ...


class DataError(UserError, ValueError):
  """The data are not what the config asks for; the message says what to do."""


class UnreadableImageError(DataError):
  """One image cannot be decoded; a pipeline counts and names it and goes on."""


def person(source: Source, number: int) -> str:
  """Names a person, alike in every source that shows them.

  That is what the source says itself (`person`), or the name behind the number
  (`identity_names`), or the number.
  """
  if hasattr(source, "person"):
    return source.person(number)
  names = getattr(source, "identity_names", ())
  return names[number] if names else str(number)


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
  """Builds a record in which everything that is not given is unknown."""
  points = len(LANDMARKS)

  def known(value, shape):
    value = np.full(shape, np.nan) if value is None else value
    return np.asarray(value, np.float32).reshape(shape)

  return dict(
    image=image,
    identity=np.int32(identity),
    attributes=np.asarray(attributes, np.int8),
    landmarks=known(landmarks, (points, 2)),
    visibility=(
      np.full(points, -1, np.int8)
      if visibility is None
      else np.asarray(visibility, np.int8)
    ),
    pose=known(pose, 3),
    box=known(box, 4),
    domain=np.int32(domain),
  )
