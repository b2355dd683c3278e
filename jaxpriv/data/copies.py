"""Photographs that are the same picture: found, and kept apart from figures.

Whoever has a copy of a probe in the gallery recognises people by the picture
and not by the face. Pictures are compared as they are framed, small and in
grey, so that one that was saved again, resized or cropped by some pixels is
found, too: what a small shift and change of scale explain is taken off, to
first order, as registration by gradients does (Lucas and Kanade, IJCAI 1981).
In frames of whole heads the part is compared that has the face, since two
portraits of a session may differ there alone. Frames of a video that hardly
differ count as the same picture.
"""

from collections.abc import Callable, Sequence

import numpy as np
from absl import logging

from jaxpriv.data import account, alignment, pipeline
from jaxpriv.data.memory import InMemory
from jaxpriv.data.records import DataError, Record, Source

REFUSE, LEAVE_OUT, KEEP = CHOICES = ("refuse", "leave_out", "keep")

SIDE = 32  # of pictures when compared, in pixels
# Two pictures are the same if they differ by a smaller share of their contrast.
# Among 4,096 photographs the closest two of different people differed by 0.27,
# and of one person a few in a hundred by less than this. Copies that were saved
# again (JPEG, quality 70) differed by up to 0.07, at half the size or cropped
# by 1% by up to 0.11 (99% of them), drawn faces cropped by 1 of 128 pixels too.
_SAME = 0.12
_COARSE = 8  # side of pictures when candidates are looked for
_CANDIDATES = 2
_NEAR = 0.25  # difference of candidates, as a share of the contrast
_FLAT = 4.0  # grey levels: a picture of less contrast shows nothing
_MOST = 2**22  # numbers that are worked on at once
_SHOWN = 3  # pairs that a message names


def check(choice: str) -> None:
  """Raises DataError unless this is one of `CHOICES`."""
  if choice not in CHOICES:
    raise DataError(
      f"data.copies is {choice!r}; it must be one of {', '.join(CHOICES)}."
    )


def settle(
  source: Source,
  choice: str,
  align: str,
  progress: Callable[[int, int], None] | None = None,
) -> Source:
  """Leaves out all but one of the records that show the same picture.

  Args:
    source: framed photographs; others are returned as they are.
    choice: "refuse" a picture under the names of two people, "leave_out" every
      record of such a picture, or "keep" everything, without looking.
    align: how photographs were framed.
    progress: called with (images done, of how many) while they are read.

  Returns:
    the source, or a part of it; `left_out` has what is not in it.

  Raises:
    DataError: one picture is said to show two people.
  """
  check(choice)
  if choice == KEEP or len(source) < 2 or not _is_of_photographs(source):
    return source
  rows, groups = _look(source, align, progress)
  if not groups:
    return source
  people = np.asarray(source.identities)[rows]
  known = [np.unique(people[group][people[group] >= 0]) for group in groups]
  doubtful = [g for g, names in zip(groups, known) if len(names) > 1]
  if doubtful and choice == REFUSE:
    raise DataError(
      f"{_count(doubtful)} photographs show the same picture under the names of"
      f" several people, such as {_named(source, rows, doubtful)}. Correct the"
      " names, or leave all of them out with data.copies=leave_out."
    )
  lost: dict[int, str] = {}
  for group, names in zip(groups, known):
    # A copy whose person is known says more than one of nobody known.
    kept = group[np.argmax(people[group] >= 0)]
    for row in group:
      if len(names) > 1:
        lost[int(rows[row])] = account.TWO_NAMES
      elif row != kept:
        lost[int(rows[row])] = account.COPY
  logging.warning(
    "%d of %d photographs show the same picture as others, such as %s; of each"
    " picture one is used%s",
    _count(groups),
    len(source),
    _named(source, rows, groups),
    f", and of {len(doubtful)} under several names none" if doubtful else "",
  )
  for row, why in lost.items():
    source.left_out[source.name(row)] = why
  return part(source, np.setdiff1d(np.arange(len(source)), list(lost)))


def count(
  source: Source,
  align: str,
  progress: Callable[[int, int], None] | None = None,
) -> int:
  """How many photographs show the same picture as an earlier one.

  The log names some. Arguments are those of `settle`.
  """
  if len(source) < 2 or not _is_of_photographs(source):
    return 0
  rows, groups = _look(source, align, progress)
  if groups:
    logging.warning(
      "%d of %d photographs show the same picture as others, such as %s",
      _count(groups),
      len(source),
      _named(source, rows, groups),
    )
  return _count(groups) - len(groups)


def _look(
  source: Source, align: str, progress: Callable[[int, int], None] | None
) -> tuple[np.ndarray, list[np.ndarray]]:
  """Readable records, and groups of positions in these."""
  rows, pictures = _pictures(source, align, progress)
  return rows, find(pictures)


def _count(groups: Sequence[np.ndarray]) -> int:
  return sum(map(len, groups))


def _named(
  source: Source, rows: np.ndarray, groups: Sequence[np.ndarray]
) -> str:
  """Some of the pictures by the names of their files, and of their people."""

  def name(row: int) -> str:
    number = int(source.identities[rows[row]])
    person = f" ({source.person(number)})" if number >= 0 else ""
    return f"{source.name(int(rows[row]))}{person}"

  return "; ".join(
    " and ".join(name(row) for row in group[:2]) for group in groups[:_SHOWN]
  )


def _is_of_photographs(source: Source) -> bool:
  """Whether records were read from files, and not drawn."""
  origin = source.origin if isinstance(source, InMemory) else source
  return origin is not None and not origin.batched


def _pictures(
  source: Source, align: str, progress: Callable[[int, int], None] | None
) -> tuple[np.ndarray, np.ndarray]:
  """The readable records [N], and their thumbnails uint8 [N, SIDE, SIDE]."""
  pixels = 3 * source.image_size**2
  size = max(1, min(len(source), _MOST // pixels))
  if isinstance(source, InMemory):
    images = source.arrays["image"]
    parts = [
      _rounded(images[start : start + size], align)
      for start in range(0, len(source), size)
    ]
    return np.arange(len(source)), np.concatenate(parts)
  rows, parts = [], []
  for batch in pipeline.epoch(
    source,
    np.arange(len(source)),
    batch_size=size,
    process_index=0,
    process_count=1,
  ):
    readable = ~batch["padding"]
    rows.append(batch["index"][readable])
    parts.append(_rounded(batch["image"][readable], align))
    if progress is not None:
      progress(int(batch["index"].max()) + 1, len(source))
  return np.concatenate(rows), np.concatenate(parts)


def _rounded(images: np.ndarray, align: str) -> np.ndarray:
  """Thumbnails in bytes: there may be many of them."""
  return np.rint(thumbnails(images, align)).astype(np.uint8)


def thumbnails(images: np.ndarray, align: str) -> np.ndarray:
  """Images uint8 [N, S, S, 3] in grey, small: float32 [N, SIDE, SIDE]."""
  size = images.shape[1]
  corners = np.array([[0.0, 0.0], [size, size]])
  if align == "head":
    corners = alignment.transform_points(alignment.head_matrix(size), corners)
  across, down = (_means(size, *ends) for ends in corners.T)
  grey = np.array([0.299, 0.587, 0.114], np.float32)
  across = (across[:, :, None] * grey).reshape(SIDE, -1)
  rows = images.reshape(*images.shape[:2], -1).astype(np.float32)
  return down @ (rows @ across.T)


def _means(size: int, start: float, stop: float) -> np.ndarray:
  """Shares of pixels in the small ones from start to stop, [SIDE, size]."""
  ends = np.linspace(start, stop, SIDE + 1)
  pixel = np.arange(size)
  overlap = np.minimum(ends[1:, None], pixel + 1)
  overlap = np.clip(overlap - np.maximum(ends[:-1, None], pixel), 0, None)
  return (overlap / overlap.sum(1, keepdims=True)).astype(np.float32)


def find(pictures: np.ndarray) -> list[np.ndarray]:
  """Groups of at least two pictures that are the same.

  Args:
    pictures: [N, SIDE, SIDE], as of `thumbnails`; may be rounded.

  Returns:
    rows, ascending in each group, groups by their first row.
  """
  leader = np.arange(len(pictures))  # of a group: its first row

  def lead(row: int) -> int:
    while leader[row] != row:
      row = leader[row]
    return row

  coarse, contrast = _summary(pictures)
  alive = asked = np.flatnonzero(contrast > _FLAT)
  # A row may have more copies than candidates. So groups are formed, and the
  # first row of each group is compared with those of the other groups, until
  # nothing more is joined.
  while len(asked) and len(alive) > 1:
    pairs = _nearest(coarse, contrast, asked, alive)
    joined = set()
    for a, b in pairs[are_same(pictures[pairs[:, 0]], pictures[pairs[:, 1]])]:
      low, high = sorted((lead(a), lead(b)))
      if low != high:
        leader[high] = low
        joined.add(low)
    asked = np.array(sorted({lead(row) for row in joined}), int)
    alive = alive[leader[alive] == alive]
  groups: dict[int, list[int]] = {}
  for row in np.flatnonzero(contrast > _FLAT).tolist():
    groups.setdefault(lead(row), []).append(row)
  return [np.array(group) for group in groups.values() if len(group) > 1]


def _summary(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Coarse pictures of mean zero [N, _COARSE ** 2], and contrasts [N]."""
  step = SIDE // _COARSE
  coarse = np.zeros((len(pictures), _COARSE, _COARSE), np.float32)
  contrast = np.zeros(len(pictures), np.float32)
  size = _MOST // SIDE**2
  for start in range(0, len(pictures), size):
    rows = slice(start, start + size)
    part = pictures[rows].astype(np.float32)
    blocks = part.reshape(-1, _COARSE, step, _COARSE, step)
    coarse[rows] = blocks.mean((2, 4))
    contrast[rows] = part.std((1, 2))
  flat = coarse.reshape(len(pictures), -1)
  return flat - flat.mean(1, keepdims=True), contrast


def _nearest(
  coarse: np.ndarray, contrast: np.ndarray, asked: np.ndarray, among: np.ndarray
) -> np.ndarray:
  """Pairs [P, 2] of rows that may be the same picture, one of each asked."""
  pairs = [np.zeros((0, 2), int)]
  table = coarse[among]
  squares = (table**2).sum(1)
  twice = -2 * table.T
  size = max(1, _MOST // len(among))
  for start in range(0, len(asked), size):
    rows = asked[start : start + size]
    every = np.arange(len(rows))
    own = (coarse[rows] ** 2).sum(1)
    distance = coarse[rows] @ twice
    distance += squares  # and those of the rows, which do not change the order
    distance[every, np.searchsorted(among, rows)] = np.inf
    for _ in range(min(_CANDIDATES, len(among) - 1)):
      best = distance.argmin(1)
      mean_square = (distance[every, best] + own) / _COARSE**2
      near = mean_square < (_NEAR * contrast[rows]) ** 2
      pairs.append(np.column_stack([rows[near], among[best[near]]]))
      distance[every, best] = np.inf
  return np.concatenate(pairs)


def are_same(first: np.ndarray, second: np.ndarray) -> np.ndarray:
  """Whether pictures [P, SIDE, SIDE] are the same as others; bool [P]."""
  size = max(1, _MOST // (8 * SIDE**2))
  parts = [
    _difference(
      first[start : start + size].astype(np.float32),
      second[start : start + size].astype(np.float32),
    )
    for start in range(0, len(first), size)
  ]
  return np.concatenate([np.zeros(0), *parts]) < _SAME


def _difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
  """The remaining difference, as a share of the contrast; [P].

  Brightness, a shift and a change of scale are fitted by least squares, to
  first order in their size.
  """
  mean = (first + second) / 2
  contrast = mean.std((1, 2))
  right = (mean[:, 1:-1, 2:] - mean[:, 1:-1, :-2]) / 2
  down = (mean[:, 2:, 1:-1] - mean[:, :-2, 1:-1]) / 2
  place = np.linspace(-1, 1, SIDE, dtype=np.float32)[1:-1]
  changes = np.stack(
    [np.ones_like(right), right, down, right * place, down * place[:, None]], 1
  ).reshape(len(mean), 5, -1)
  rest = (first - second)[:, 1:-1, 1:-1].reshape(len(mean), -1)
  gram = changes @ np.swapaxes(changes, 1, 2)
  # Where a picture has no gradient, nothing is to be fitted.
  ridge = 1e-4 * np.trace(gram, axis1=1, axis2=2)[:, None, None]
  gram = gram + (ridge / 5 + 1e-6) * np.eye(5, dtype=np.float32)
  sides = (changes @ rest[..., None])[..., 0]
  fitted = np.linalg.solve(gram, sides[..., None])[..., 0]
  rest = rest - (fitted[:, None] @ changes)[:, 0]
  return np.sqrt((rest**2).mean(1)) / np.maximum(contrast, 1e-6)


def part(source: Source, rows: np.ndarray) -> Source:
  """Some of the records of a source, in ascending order."""
  if isinstance(source, InMemory):
    return source.take(rows)
  return Part(source, rows)


class Part(Source):
  """Some of the records of a source that reads them one by one."""

  def __init__(self, source: Source, rows: np.ndarray):
    self._source, self._rows = source, np.asarray(rows)
    self.attribute_names = source.attribute_names
    values = source.attribute_values
    if values is not None and len(values) == len(source):  # not so of scenes
      self.attribute_values = values[rows]
    self.points = {k: v[self._rows] for k, v in source.points.items()}
    self.identities = np.asarray(source.identities)[rows]
    self.identity_names = source.identity_names
    self.image_size = source.image_size
    self.max_faces = source.max_faces
    self.max_bad_share = source.max_bad_share
    self.unreadable = source.unreadable
    self.left_out = source.left_out
    self.seen = source.seen

  def __getitem__(self, index: int) -> Record:
    return self._source[int(self._rows[index])]

  def describe(self, index: int) -> str:
    return self._source.describe(int(self._rows[index]))

  def name(self, index: int) -> str:
    return self._source.name(int(self._rows[index]))

  def person(self, number: int) -> str:
    return self._source.person(number)
