"""Detection sets of replaced faces: the original, some releases, and all of it.

Zhang, Wang, Lin, "Big Data Assisted Object Detection with Privacy Protection",
compare detectors that learn from five sets of one collection of photographs:

| set | paper | faces |
|---|---|---|
| std | standard | as they are |
| af, gb, rb | animal, gender and race balanced | replaced, by a run each |
| grb | all of them | the photographs of all sets together |

    OUTPUT/NAME/photographs/       and labels.csv in it; a release for each run,
                                   of the originals linked, or copied
    OUTPUT/grb/photographs/NAME/   those of each set, and one labels.csv
    OUTPUT/counts.json             faces of each set by gender and skin
"""

import collections
import csv
import io
import json
import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from etils import epath

from jaxpriv import files
from jaxpriv.data import alignment, pretrained, skin, tree
from jaxpriv.data.folder import FolderSource
from jaxpriv.data.records import DataError, UnreadableImageError
from jaxpriv.models.pretrained.catalogue import NETWORKS
from jaxpriv.release import release as release_lib
from jaxpriv.release import whole as whole_lib
from jaxpriv.release.photographs import Input
from jaxpriv.training import progress, witnesses

STANDARD, ALL = "std", "grb"
READER = "age_gender"
SIDE = 112  # of the crops by which faces are counted
COUNTS = "counts.json"
UNKNOWN = "unknown"
_AT_ONCE = 256  # faces whose skin is read together


def build(
  place: Input,
  runs: Mapping[str, str],
  output: epath.PathLike,
  mesh: jax.sharding.Mesh,
) -> dict[str, Any]:
  """Makes the sets that are not there yet, and counts their faces.

  Args:
    place: the photographs, with `whole`.
    runs: name of a set -> the run directory that replaces its faces.
    output: folder of the sets; what is finished in it is kept.
    mesh: the mesh.

  Returns:
    set -> "photographs", "faces", "gender" and "skin": class -> how many.

  Raises:
    DataError: a set cannot be made; see `release.release`.
  """
  top = pathlib.Path(os.fspath(output))
  _check(place, runs, top)
  for name, workdir in runs.items():
    if (top / name).exists():
      logging.info("%s is there already", top / name)
    else:
      release_lib.release(workdir, top / name, mesh, place)
  below = lambda name: top / name / whole_lib.FOLDER
  first = below(next(iter(runs)))
  _standard(pathlib.Path(place.path), first, below(STANDARD))
  _union([STANDARD, *runs], top)
  counts = {name: count(below(name)) for name in (STANDARD, *runs, ALL)}
  text = json.dumps(counts, indent=2) + "\n"
  files.atomic_write(epath.Path(top) / COUNTS, text)
  return counts


def _check(place: Input, runs: Mapping[str, str], top: pathlib.Path) -> None:
  if place.whole is None or not runs:
    raise DataError("sets are made of whole photographs, by one run or more")
  for name in runs:
    plain = name.replace("_", "").replace("-", "").isalnum()
    if not plain or name in (STANDARD, ALL):
      raise DataError(
        f"{name!r} cannot be the name of a set: take letters and digits, and"
        f" neither {STANDARD} nor {ALL}"
      )
  inside = pathlib.Path(place.path).expanduser().resolve()
  if inside == top.resolve() or inside in top.resolve().parents:
    raise DataError(f"--output: {top} is inside of --input, {place.path}")


def _rows(photographs: pathlib.Path) -> list[dict[str, str]]:
  table = photographs / tree.TABLE
  with open(table, newline="", encoding="utf-8") as stream:
    return list(csv.DictReader(stream))


def _write_rows(
  photographs: pathlib.Path, rows: Sequence[Mapping[str, str]]
) -> None:
  stream = io.StringIO()
  columns = list(dict.fromkeys(key for row in rows for key in row))
  writer = csv.DictWriter(stream, columns, lineterminator="\n")
  writer.writeheader()
  writer.writerows(rows)
  table = epath.Path(photographs / tree.TABLE)
  files.atomic_write(table, stream.getvalue())


def _link(source: pathlib.Path, target: pathlib.Path) -> None:
  """A link to a file, or a copy of it where there can be none."""
  target.parent.mkdir(parents=True, exist_ok=True)
  try:
    os.symlink(source.resolve(), target)
  except FileExistsError:
    pass
  except OSError:  # a file system without links
    shutil.copyfile(source, target)


def _standard(
  originals: pathlib.Path, first: pathlib.Path, target: pathlib.Path
) -> None:
  """The originals of the photographs that a release holds, and its labels.

  Those that it has in another format are called like it, but for ".png".
  """
  rows = []
  for row in _rows(first):
    name = row["file"]
    if not (originals / name).exists():
      name = name.removesuffix(".png")
    rows.append({**row, "file": name})
    _link(originals / name, target / name)
  _write_rows(target, rows)


def _union(names: Sequence[str], top: pathlib.Path) -> None:
  """All photographs of all sets, each set in a folder of its own."""
  rows, target = [], top / ALL / whole_lib.FOLDER
  for name in names:
    folder = top / name / whole_lib.FOLDER
    for row in _rows(folder):
      placed = f"{name}/{row['file']}"
      _link(folder / row["file"], target / placed)
      rows.append({**row, "file": placed})
  _write_rows(target, rows)


def count(photographs: pathlib.Path) -> dict[str, Any]:
  """Faces of a set by gender and skin.

  Skin is by the typology angle of cheeks, gender by a network that no one here
  trained, "unknown" where that has not been fetched.

  Args:
    photographs: a folder with labels.csv.
  """
  source = FolderSource(photographs)
  crops = []
  with progress.bar("counting", len(source), unit="face") as advance:
    for index in range(len(source)):
      try:
        photograph = source.photograph(index)
        if alignment.framed_by(photograph, "landmarks") == "landmarks":
          framed = alignment.frame(photograph, SIDE, "landmarks")
          crops.append(framed["image"])
      except UnreadableImageError as error:
        logging.warning("%s", error)
      advance(index + 1)
  found = {
    "photographs": len({source.name(i) for i in range(len(source))}),
    "faces": len(crops),
  }
  if not crops:
    return {**found, "gender": {}, "skin": {}}
  images = np.stack(crops)
  told: collections.Counter[str] = collections.Counter()
  for start in range(0, len(images), _AT_ONCE):
    part = jnp.asarray(images[start : start + _AT_ONCE], jnp.float32) / 255
    levels = skin.level(skin.typology_angle(skin.cheeks(part)))
    told.update(skin.CLASSES[level] for level in levels.tolist())
  return {
    **found,
    "gender": _genders(images),
    "skin": {name: told[name] for name in skin.CLASSES},
  }


def _genders(images: np.ndarray) -> dict[str, int]:
  if pretrained.missing((READER,)):
    logging.warning("genders are not counted: %s", pretrained.FETCH)
    return {UNKNOWN: len(images)}
  said = witnesses.read(witnesses.load(READER), images, align="landmarks")
  male = np.asarray(NETWORKS[READER].attributes["Male"](said)) > 0
  return {"female": int((~male).sum()), "male": int(male.sum())}
