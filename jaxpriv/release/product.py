"""Product, one kind of thing that is given away, and the Job of making it."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from jaxpriv.release.photographs import Photographs
from jaxpriv.reports.results import Results
from jaxpriv.training.mechanism import Target
from jaxpriv.training.replacing import Whole

# Description of a product for its card; plain values, all of them published.
Facts = Mapping[str, Any]
# Titles with Markdown; those without a title open the card.
Sections = list[tuple[str, str]]


class Job(NamedTuple):
  """A release that is being made.

  Attributes:
    target: the mechanism and its products.
    workdir: its run directory.
    directory: where to write; it is published when all is there.
    mesh: the mesh of the states.
    results: what was measured of it; None: nothing was.
    photographs: what is to be protected; None where no product takes any.
    order: int64 [N], the photographs as they come in the release.
    whole: how faces go back into whole photographs; None: they do not.
  """

  target: Target
  workdir: epath.Path
  directory: epath.Path
  mesh: jax.sharding.Mesh
  results: Results | None = None
  photographs: Photographs | None = None
  order: np.ndarray = np.zeros(0, np.int64)
  whole: Whole | None = None

  @property
  def config(self) -> ConfigDict:
    return self.target.config

  def need_photographs(self) -> Photographs:
    """The photographs of a product that takes some.

    Raises:
      ValueError: there are none.
    """
    if self.photographs is None:
      raise ValueError("there are no photographs to protect")
    return self.photographs

  def need_whole(self) -> Whole:
    """How faces go back into photographs.

    Raises:
      ValueError: they do not.
    """
    if self.whole is None:
      raise ValueError("no whole photographs are released")
    return self.whole


class Product(NamedTuple):
  """One kind of thing that is given away.

  Attributes:
    name: as in `Target.products`.
    noun: for people.
    files: how the names of all that it writes begin; a folder that holds
      anything else is somebody's.
    write: writes the files into `job.directory`. If `missing` is among the
      facts, it lists the names that the release leaves out.
    sections: of CARD.md.
    question: which photographs it takes, for the message when there are none;
      "" if it takes none.
    resumable: `write` goes on with what is there. Otherwise it starts anew.
    check: raises DataError if this may not be released; nothing is written
      before all products are checked.
  """

  name: str
  noun: str
  files: tuple[str, ...]
  write: Callable[[Job], Facts]
  sections: Callable[[Facts], Sections]
  question: str = ""
  resumable: bool = False
  check: Callable[[Job], None] = lambda job: None

  @property
  def needs_input(self) -> bool:
    return bool(self.question)
