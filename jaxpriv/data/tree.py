"""The files below a folder, each of them: photographs, and what is none.

Links are followed, each folder is entered once, and names are compared in one
Unicode form, since systems write "é" in one character or in two.
"""

import os
import pathlib
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from jaxpriv.data import images
from jaxpriv.data.records import DataError

HIDDEN = "hidden: the name begins with a dot"
SYSTEM = "made by the system, not by people"
CLOSED = "a folder that cannot be entered"
RELEASED = "a release of protected images"
AGAIN = "a link to what is read already, or to nothing"
SPECIAL = "neither a file nor a folder"
NO_PHOTOGRAPH = "no photograph"

TABLE = "labels.csv"
# A file of every release, by which it is recognised; see jaxpriv.release.
CARD = "card.json"

_SYSTEM = frozenset((
  "@eadir", "__macosx", "$recycle.bin", "#recycle", "lost+found",
  "system volume information", "thumbs.db", "ehthumbs.db", "desktop.ini",
  "icon\r", "picasa.ini",
))  # fmt: skip
_LONGEST_SUFFIX = 6  # of a kind that a report names


class Tree(NamedTuple):
  """A folder's files by their paths below it, "a/b.jpg", in order.

  Attributes:
    photographs: what is to be read.
    others: anything else -> its kind, as one of the constants says it. Folders
      that are not entered are one entry each.
  """

  photographs: list[str]
  others: dict[str, str]


def walk(path: pathlib.Path) -> Tree:
  """Lists a folder.

  Raises:
    DataError: the folder cannot be entered, or is itself a release.
  """
  if is_release(path):
    raise DataError(
      f"{path} holds {CARD} of a release: its images are protected ones, and"
      " no photographs. Choose the folder of the originals; to take them as"
      " photographs all the same, remove the card from a copy."
    )
  photographs: list[str] = []
  others: dict[str, str] = {}
  seen = {_identity(path)}
  links: list[os.DirEntry] = []
  folders = [str(path)]
  # Links come last, so that a folder is known by its own name, not a link's.
  while folders or links:
    if folders:
      place = folders.pop()
    else:
      link = links.pop(0)
      place, key = link.path, _identity(link.path)
      if key is None or key in seen:
        others[_below(link.path, path)] = AGAIN
        continue
      seen.add(key)
    try:
      with os.scandir(place) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
      if place == str(path):
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
      others[_below(place, path)] = CLOSED
      continue
    for entry in found:
      name = _below(entry.path, path)
      kind = _kind(entry)
      if kind == "photograph":
        photographs.append(name)
      elif kind != "folder":
        others[name] = kind
      elif entry.is_symlink():
        links.append(entry)
      else:
        seen.add(_identity(entry.path))
        folders.append(entry.path)
  return Tree(sorted(photographs, key=normal), others)


def normal(name: str) -> str:
  """A name in the one form in which names are compared."""
  return unicodedata.normalize("NFC", name)


def is_release(path: str | os.PathLike) -> bool:
  """Whether a folder is a release of protected images, finished or begun."""
  place = pathlib.Path(path)
  begun = place.suffix == ".partial" and place.with_name(place.name + ".json")
  try:
    return _is_card(place / CARD) or bool(begun and begun.is_file())
  except OSError:
    return False


def _is_card(path: pathlib.Path) -> bool:
  """Whether a file is a card of ours: others may use the name, too."""
  if not path.is_file():
    return False
  with open(path, "rb") as file:
    return b'"parameters_sha256"' in file.read()


def find_table(tree: Tree, path: pathlib.Path) -> str:
  """The name of the table of labels, or "" where there is none.

  Raises:
    DataError: there are two, of names that some systems do not tell apart.
  """
  tables = [name for name in tree.others if name.lower() == TABLE]
  if len(tables) > 1:
    raise DataError(
      f"{path} holds {' and '.join(sorted(tables))}: keep one of them."
    )
  return tables[0] if tables else ""


class Names:
  """Finds files of a tree by how a table may spell them."""

  def __init__(self, tree: Tree):
    self._exact = {*tree.photographs, *tree.others}
    self._normal = {normal(name): name for name in self._exact}

  def find(self, name: str) -> str:
    """The path of a file below the folder; `name` itself if there is none."""
    for spelled in _spellings(name):
      if spelled in self._exact:
        return spelled
      if normal(spelled) in self._normal:
        return self._normal[normal(spelled)]
    return name


def _spellings(name: str) -> Iterator[str]:
  yield name
  plain = os.path.normpath(name)
  yield plain
  if "\\" in name:  # as Windows writes paths
    yield os.path.normpath(name.replace("\\", "/"))


def _kind(entry: os.DirEntry) -> str:
  """Names the kind of an entry; "folder" and "photograph" are to be read."""
  if entry.name.lower() in _SYSTEM:
    return SYSTEM
  if entry.name.startswith("."):
    return HIDDEN
  try:
    if entry.is_dir():
      return RELEASED if is_release(entry.path) else "folder"
    if not entry.is_file():
      return AGAIN if entry.is_symlink() else SPECIAL
    if images.is_photograph(pathlib.Path(entry.path)):
      return "photograph"
  except OSError:  # a file without permission, or a link in a circle
    return AGAIN if entry.is_symlink() else CLOSED
  suffix = pathlib.Path(entry.name).suffix.lower()
  known = suffix.isascii() and suffix[1:].isalnum()
  if known and len(suffix) <= _LONGEST_SUFFIX:
    return f"{NO_PHOTOGRAPH} ({suffix})"
  return NO_PHOTOGRAPH


def _identity(path: str | os.PathLike) -> tuple[int, int] | None:
  """Device and number of a folder; None where a link leads nowhere."""
  try:
    status = os.stat(path)
  except OSError:
    return None
  return status.st_dev, status.st_ino


def _below(path: str, folder: pathlib.Path) -> str:
  return os.path.relpath(path, folder).replace(os.sep, "/")
