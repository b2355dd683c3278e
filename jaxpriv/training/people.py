"""Whom a run has learned from: people.json of a run directory.

It holds hashes of their names, "train" of its own training people and
"pretrained" of those of the runs that it took parameters over from; and
"photographs", one hash of all those to train on, in their order.
"""

import json
from typing import Any

from absl import logging
from etils import epath

from jaxpriv.data.dataset import Data
from jaxpriv.data.records import DataError
from jaxpriv.training import workdir as workdir_lib


def check_same(workdir: epath.PathLike, data: Data) -> None:
  """Checks that the training people are those that a run has learned from.

  Raises:
    DataError: the data have changed.
  """
  then, now = set(_content(workdir)["train"]), data.hashes("train")
  if then != now:
    raise DataError(
      "the data have changed since training: of the people to train on,"
      f" {len(now - then)} are new to {workdir} and {len(then - now)} are no"
      " longer among them. Splits are dealt anew when people come or go, so"
      " that people trained on could be scored as new ones. Bring the data"
      " back to what they were, or train in another --workdir."
    )
  photographs = _content(workdir)["photographs"]
  if photographs != data.digest("train"):
    raise DataError(
      f"the data have changed since training: the people of {workdir} are the"
      " same, and of their photographs some are new, gone or in another order,"
      " so that a resumed run would see others than those of its seed. Bring"
      " the data back to what they were, or train in another --workdir."
    )


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
  return json.loads(path.read_text())
