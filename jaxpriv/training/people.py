"""Whom a run has learned from: people.json of a run directory.

It holds hashes of their names, "train" of its own training people and
"pretrained" of those of the runs that it took parameters over from.
"""

import json

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
  then, now = _read(workdir)["train"], data.hashes("train")
  if then != now:
    raise DataError(
      "the data have changed since training: of the people to train on,"
      f" {len(now - then)} are new to {workdir} and {len(then - now)} are no"
      " longer among them. Splits are dealt anew when people come or go, so"
      " that people trained on could be scored as new ones. Bring the data"
      " back to what they were, or train in another --workdir."
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
  people = {"train": sorted(data.hashes("train")), "pretrained": sorted(before)}
  workdir_lib.write_json(epath.Path(workdir) / "people.json", people)


def learned_from(workdir: epath.PathLike) -> set[str]:
  """Hashes of the people that a run, or one it took over from, has seen."""
  return set().union(*_read(workdir).values())


def _read(workdir: epath.PathLike) -> dict[str, set[str]]:
  path = epath.Path(workdir) / "people.json"
  if not path.exists():
    raise DataError(
      f"{path} does not exist: nothing says whom {workdir} was trained on, and"
      " whether the test people are new to it. Train again, in another"
      " --workdir."
    )
  return {k: set(v) for k, v in json.loads(path.read_text()).items()}
