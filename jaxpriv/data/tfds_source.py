"""CelebA, LFW and WIDER FACE as TensorFlow Datasets prepared them.

It reads builders prepared in the array_record format, without TensorFlow.
CelebA can be prepared without it, too; the builders of LFW and WIDER FACE need
it. Without it, read LFW as a folder (folder = person), which `launch.pack`
packs for training, and WIDER FACE as a folder of scenes, whose labels.csv
`launch.labels` makes.
"""

import os
from typing import Any

import numpy as np
from absl import logging

from jaxpriv.data import images
from jaxpriv.data.detection_labels import annotations, table
from jaxpriv.data.records import (
  NO_IMAGE,
  DataError,
  Photograph,
  Record,
  Source,
  record,
  scene,
)

NAMES = ("celeb_a", "lfw")
SCENES = ("wider_face",)
# Its test split says nothing of faces.
_LABELLED = "train+validation"

_CELEB_A_POINTS = ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
_CELEB_A_DEFAULT = ("Male", "Smiling", "Big_Nose", "Eyeglasses")

_PREPARE = {
  "celeb_a": (
    'python -c "import tensorflow_datasets as tfds;'
    " tfds.builder('celeb_a', data_dir='{dir}', file_format='array_record')"
    '.download_and_prepare()"'
  ),
  "lfw": (
    "python -m launch.pack --input=FOLDER_WITH_ONE_SUBFOLDER_PER_PERSON"
    " --output=PACKED, then data.source=array_record (the TFDS builder of"
    " lfw needs TensorFlow to be prepared)"
  ),
  "wider_face": (
    "python -m launch.labels --input=wider_face_train_bbx_gt.txt"
    " --output=FOLDER/labels.csv, then data.source=folder (the TFDS builder of"
    " wider_face needs TensorFlow to be prepared)"
  ),
}


_OPEN_ERRORS = (AssertionError, KeyError, NotImplementedError, OSError,
                ValueError)  # fmt: skip


class _Prepared(Source):
  """Undecoded examples of a split: `_data`, of `_name` and `_split`."""

  _name: str
  _split: str
  _data: Any

  def __len__(self) -> int:
    return len(self._data)

  def __getitem__(self, index: int) -> Record:
    photograph = self.photograph(index)
    assert photograph is not None
    pixels = images.decode(photograph.image, name=photograph.name)
    return dict(photograph.fields, image=np.asarray(pixels))

  def describe(self, index: int) -> str:
    return f"TFDS {self._name}, split {self._split}, record {index}"


class TfdsSource(_Prepared):
  """A prepared split of celeb_a or lfw.

  Attributes:
    attribute_names: the 40 of CelebA; none for LFW.
    default_attributes: the attributes to train on unless the config names
      others.
    identity_names: the people of LFW; CelebA has numbers only.
  """

  def __init__(self, name: str, split: str, data_dir: str = ""):
    """Opens a split.

    Args:
      name: "celeb_a" or "lfw", or with a version, "celeb_a:2.1.0".
      split: a TFDS split, "train" or "train[:10%]"; all of them when empty.
      data_dir: where TFDS keeps data; its own default when empty.

    Raises:
      DataError: the set is not known, not prepared, or has no such split.
    """
    self._name = _known(name, NAMES)
    self._split = split or "all"
    self._data, features = _open(name, self._name, self._split, data_dir)
    self._has_identity = "identity" in features  # celeb_a since 2.1.0
    self.attribute_names: tuple[str, ...] = ()
    self.default_attributes: tuple[str, ...] = ()
    if self._name == "celeb_a":
      self.attribute_names = tuple(features["attributes"])
      self.default_attributes = _CELEB_A_DEFAULT
    self.identities, self.identity_names = self._people()

  def photograph(self, index: int) -> Photograph:
    """Record `index` with its image opened but not decoded."""
    example = self._data[int(index)]
    image = images.open_image(example["image"], self.describe(index))
    values: dict[str, Any] = dict(identity=self.identities[index])
    if self._name == "celeb_a":
      values.update(_celeb_a_fields(example, self.attribute_names))
    fields = record(NO_IMAGE, **values)
    square = np.full(4, np.nan)
    return Photograph(image, fields, square, self.describe(index))

  def _people(self) -> tuple[np.ndarray, tuple[str, ...]]:
    """Numbers and names of the people; reads the split once, undecoded."""
    logging.info("Reading who is in TFDS %s, %s ...", self._name, self._split)
    if self._name == "celeb_a":
      if not self._has_identity:
        return np.full(len(self), -1, np.int32), ()
      numbers = [e["identity"]["Identity_No"] for e in self._data]
      return np.array(numbers, np.int32), ()
    labels = [_text(example["label"]) for example in self._data]
    names, people = np.unique(labels, return_inverse=True)
    return people.astype(np.int32), tuple(names.tolist())


class TfdsScenes(_Prepared):
  """A prepared split of wider_face: pictures, to be framed whole.

  Nobody is named there: give data.split_by=image. It has neither points of
  faces nor the settings easy, medium and hard; attributes are those of
  `launch.labels`. Faces whose boxes have no area are left out, as there.
  """

  attribute_names = tuple(table.COLUMNS)

  def __init__(
    self, name: str, split: str, data_dir: str = "", max_faces: int = 32
  ):
    """Opens a split.

    Args:
      name: "wider_face", or with a version.
      split: as in `TfdsSource`; where it is empty, those that name faces.
      data_dir: likewise.
      max_faces: rows of a record. The largest faces are kept; `left_out` of
        each record says how many are not.

    Raises:
      DataError: as `TfdsSource`.
    """
    self._name = _known(name, SCENES)
    self._split = split or _LABELLED
    self._data, _ = _open(name, self._name, self._split, data_dir)
    self.max_faces = max_faces
    self.identities = np.full(len(self._data), -1, np.int32)

  def photograph(self, index: int) -> Photograph:
    """Record `index` with its image opened but not decoded."""
    example, name = self._data[int(index)], self.describe(index)
    image = images.open_image(example["image"], name)
    fields = scene(
      NO_IMAGE,
      _scene_fields(example["faces"], image.size, name),
      self.max_faces,
    )
    return Photograph(image, fields, np.full(4, np.nan), name)


def _scene_fields(faces, size, name) -> dict[str, np.ndarray]:
  """Fields [N, ...] of the faces of wider_face that can be used.

  Boxes are ymin, xmin, ymax, xmax there, in shares of the sides.
  """
  shares = np.asarray(faces["bbox"], np.float64).reshape(-1, 4)
  boxes = shares[:, [1, 0, 3, 2]] * np.tile(size, 2)
  levels = {
    kind: np.asarray(faces[kind], int).reshape(-1)
    for kind in annotations.ATTRIBUTES
  }
  listed = [
    annotations.Face(
      tuple(box.tolist()),
      attributes={kind: int(of[i]) for kind, of in levels.items()},
    )
    for i, box in enumerate(boxes)
  ]
  known = annotations.annotation(name, listed, size=size)
  use = table.usable(known)
  values = [
    known.attributes[kind] >= least for kind, least in table.COLUMNS.values()
  ]
  attributes = np.stack(values, 1).astype(np.int8)
  return dict(box=known.boxes[use], attributes=attributes[use])


def _known(name: str, names: tuple[str, ...]) -> str:
  """The set of a name, perhaps with a version, that is one of `names`."""
  short = name.split(":")[0].split("/")[0]
  if short in names:
    return short
  if short in (*NAMES, *SCENES):
    is_scene = short in SCENES
    raise DataError(
      f"data.name is {name!r}, whose pictures show"
      f" {'several people' if is_scene else 'one face each'}: set"
      f" data.max_faces to {'the most faces of a picture' if is_scene else 0}."
    )
  raise DataError(
    f"data.name is {name!r}; the TFDS sets that can be read are"
    f" {', '.join(names)}."
  )


def _celeb_a_fields(example, attribute_names):
  points = example["landmarks"]
  five = [
    (points[f"{point}_x"], points[f"{point}_y"]) for point in _CELEB_A_POINTS
  ]
  landmarks = np.full((26, 2), np.nan, np.float32)
  landmarks[:5] = five
  visibility = np.full(26, -1, np.int8)
  visibility[:5] = 1
  values = [int(example["attributes"][name]) for name in attribute_names]
  return dict(attributes=values, landmarks=landmarks, visibility=visibility)


def _open(name: str, short: str, split: str, data_dir: str):
  """The undecoded examples of a split, and the features of the set."""
  import tensorflow_datasets as tfds  # slow to import

  where = os.path.expanduser(data_dir) or None
  try:
    builder = tfds.builder(name, data_dir=where, file_format="array_record")
  except (tfds.core.DatasetNotFoundError, AssertionError) as error:
    raise DataError(f"TFDS set {name!r}: {error}") from error
  try:
    decoders = {"image": tfds.decode.SkipDecoding()}
    data = builder.as_data_source(split=split, decoders=decoders)
  except _OPEN_ERRORS as error:
    if not builder.info.splits or isinstance(error, NotImplementedError):
      command = _PREPARE[short].format(dir=data_dir or "~/tensorflow_datasets")
      raise DataError(
        f"TFDS set {name!r} is not prepared in the array_record format below"
        f" {data_dir or 'the TFDS default folder'}. Prepare it with:\n{command}"
      ) from error
    raise DataError(f"TFDS set {name!r}, split {split!r}: {error}") from error
  return data, builder.info.features


def _text(label) -> str:
  return label.decode() if isinstance(label, bytes) else str(label)
