"""Whom and what a run has learned from: people.json of a run directory.

It holds hashes of people's names, "train" of its own training people and
"pretrained" of those of the runs that it took parameters over from; and of the
photographs to train on, "photographs", one hash of their names in their order,
and "fed", hashes of what they hold, by kind: see `fed`. "files" says how many
files there were, and why some of them are not used.
"""

import hashlib
import os
from concurrent import futures
from typing import Any

import numpy as np
from absl import logging
from etils import epath

from jaxpriv.data import account
from jaxpriv.data.dataset import Data
from jaxpriv.data.memory import InMemory
from jaxpriv.data.records import DataError
from jaxpriv.training import workdir as workdir_lib

# Kinds of hashes that `fed` takes, and their names in errors.
KINDS = {
  "attributes": "their attributes",
  "people": "who is in them",
  "images": "their pixels, or the frames cut out of them,",
  "sizes": "the sizes of their files",
  "points": "their landmarks, visibility, poses, boxes or domains",
  "labels": "landmarks, visibility, poses, boxes or domains in their labels",
}

_BLOCK = 1024  # records that are hashed at once


def check_same(workdir: epath.PathLike, data: Data) -> None:
  """Checks that the data to train on are those that a run has learned from.

  Of a run that an earlier version began, only names are compared.

  Raises:
    DataError: the data have changed.
  """
  content = _content(workdir)
  then, now = set(content["train"]), data.hashes("train")
  if then != now:
    raise DataError(
      "the data have changed since training: of the people to train on,"
      f" {len(now - then)} are new to {workdir} and {len(then - now)} are no"
      " longer among them. Splits are dealt anew when people come or go, so"
      " that people trained on could be scored as new ones. Bring the data"
      " back to what they were, or train in another --workdir."
    )
  if content["photographs"] != data.digest("train"):
    raise DataError(
      f"the data have changed since training: the people of {workdir} are the"
      " same, and of their photographs some are new, gone or in another order,"
      " so that a resumed run would see others than those of its seed. Bring"
      " the data back to what they were, or train in another --workdir."
    )
  before = content.get("fed", {})
  changed = [
    KINDS[kind]
    for kind, digest in (fed(data) if before else {}).items()
    if before.get(kind, digest) != digest
  ]
  if changed:
    raise DataError(
      "the data have changed since training: the photographs to train on are"
      f" called as those that {workdir} has learned from, and"
      f" {' and '.join(changed)} are others. Bring the data back to what they"
      " were, or train in another --workdir."
    )


def fed(data: Data) -> dict[str, str]:
  """Hashes of what the photographs to train on hold, the same on every host.

  "people", the name of the person in each, is always there, and "attributes"
  where they are known without reading images. Of photographs in memory also
  "images", pixels as they are fed, and "points", all other fields; but not
  where they are drawn: settings then say all, and machines may round otherwise.
  Of files that are read while training, "sizes": other pixels in files of the
  same size are not seen, nor is what lies in archives and pools. "labels" are
  such fields before faces are framed, where they are known without reading
  images.
  """
  source, rows = data.source, data.splits["train"]
  identities = np.asarray(source.identities)[rows].tolist()
  known = {n: source.person(n) for n in set(identities) if n >= 0}
  found = {"people": _hash_text(known.get(n, "") for n in identities)}
  if not isinstance(source, InMemory):
    values = source.attribute_values
    if values is not None and len(values) == len(source):  # not so of scenes
      found["attributes"] = _hash_rows({"attributes": values}, rows)
    if source.points:
      found["labels"] = _hash_rows(dict(source.points), rows)
    files = [source.describe(row) for row in rows.tolist()]
    if os.path.isfile(files[0]):
      with futures.ThreadPoolExecutor() as threads:
        found["sizes"] = _hash_text(map(str, threads.map(_size, files)))
    return found
  arrays = {k: v for k, v in source.arrays.items() if k != "identity"}
  origin = source.origin
  if origin is not None and origin.points and source.rows is not None:
    found["labels"] = _hash_rows(dict(origin.points), source.rows[rows])
  drawn = origin is not None and origin.batched
  for kind, names in (
    ("attributes", {"attributes"}),
    ("images", set() if drawn else {"image"}),
    ("points", set() if drawn else arrays.keys() - {"attributes", "image"}),
  ):
    part = {name: arrays[name] for name in sorted(names & arrays.keys())}
    if part:
      found[kind] = _hash_rows(part, rows)
  return found


def _hash_text(words: Any) -> str:
  digest = hashlib.blake2b(digest_size=16)
  for word in words:
    digest.update(f"{word}\n".encode("utf-8", "surrogateescape"))
  return digest.hexdigest()


def _hash_rows(arrays: dict[str, np.ndarray], rows: np.ndarray) -> str:
  digest = hashlib.blake2b(digest_size=16)
  for name, array in arrays.items():
    digest.update(f"{name} {array.dtype} {array.shape[1:]}\n".encode())
    for start in range(0, len(rows), _BLOCK):  # no copy of them all
      part = array[rows[start : start + _BLOCK]]
      digest.update(np.ascontiguousarray(part).tobytes())
  return digest.hexdigest()


def _size(path: str) -> int:
  try:
    return os.path.getsize(path)
  except OSError:  # whoever reads it will say so
    return -1


def check_unseen(workdir: epath.PathLike, data: Data) -> None:
  """Checks that a run has learned from none of the test people of `data`.

  A run has learned from its own training people and from those of the runs that
  it took parameters over from. People of one name are taken for one.

  Raises:
    DataError: it has.
  """
  test = data.hashes("test")
  seen = test.intersection(learned_from(workdir))
  if seen:
    raise DataError(
      f"{len(seen)} of the {len(test)} test people are among those that"
      f" {workdir}, or a run it took parameters over from, was trained on: what"
      " is measured on them says nothing about new people. Use other people,"
      " or the data, config.seed and config.data.splits of that run. If they"
      " are others of the same names, rename them."
    )


def write(workdir: epath.PathLike, pretrained: str, data: Data) -> None:
  """Writes whom a run learns from, itself and through parameters taken over.

  Raises:
    DataError: the test people are not new to `pretrained`.
  """
  before: set[str] = set()
  if pretrained:
    if (epath.Path(pretrained) / "people.json").exists():
      check_unseen(pretrained, data)
      before = learned_from(pretrained)
    else:
      logging.warning(
        "%s does not say whom it has learned from: see to it yourself that no"
        " test person is among them",
        pretrained,
      )
  content = {
    "train": sorted(data.hashes("train")),
    "pretrained": sorted(before),
    "photographs": data.digest("train"),
    "fed": fed(data),
    "files": account.of(data.source).counts(),
  }
  workdir_lib.write_json(epath.Path(workdir) / "people.json", content)


def learned_from(workdir: epath.PathLike) -> set[str]:
  """Hashes of the people that a run, or one it took over from, has seen."""
  content = _content(workdir)
  return {*content["train"], *content["pretrained"]}


def _content(workdir: epath.PathLike) -> dict[str, Any]:
  path = epath.Path(workdir) / "people.json"
  if not path.exists():
    raise DataError(
      f"{path} does not exist: nothing says whom {workdir} has learned from,"
      " and whether other people are new to it. A release never says so; of a"
      " run that should, train again in another --workdir."
    )
  content = workdir_lib.read_json(path, ("train", "pretrained", "photographs"))
  kinds = {"train": list, "pretrained": list, "photographs": str, "fed": dict}
  for key, kind in kinds.items():
    if not isinstance(content.get(key, kind()), kind):
      raise DataError(
        f"{path} is damaged ({key} is no {kind.__name__}): bring it back from a"
        " copy, or use another run directory"
      )
  return content
