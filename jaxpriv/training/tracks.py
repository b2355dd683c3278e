"""Faces of one person in frames of a video, linked by where they are."""

from collections.abc import Sequence

import numpy as np

from jaxpriv.metrics import detection

# Intersection over union with the face of a frame before, from which on two
# faces are one person's.
LEAST = 0.3
# Frames for which a face may be missing: detectors lose some.
AWAY = 5


def link(frames: Sequence[np.ndarray], first: int = 0) -> list[np.ndarray]:
  """Numbers of tracks of faces in frames.

  Faces that overlap most are linked first, with where a person was last seen. A
  person who is missing in more than `AWAY` frames is another track afterwards.

  Args:
    frames: boxes [N, 4] of each frame, x0, y0, x1, y1, in order; N differs.
    first: the number of the first track.

  Returns:
    int32 [N] of each frame.
  """
  tracks: list[np.ndarray] = []
  # Where people were last seen, their numbers, and in which frame that was.
  places, numbers = np.zeros((0, 4)), np.zeros(0, np.int32)
  seen = np.zeros(0, int)
  for frame, boxes in enumerate(frames):
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    mine = np.full(len(boxes), -1, np.int32)
    overlaps = detection.iou(places[:, None], boxes[None])
    for flat in np.argsort(-overlaps, axis=None, kind="stable"):
      i, j = np.unravel_index(flat, overlaps.shape)
      if overlaps[i, j] < LEAST:
        break
      if mine[j] < 0 and numbers[i] not in mine:
        mine[j] = numbers[i]
    fresh = mine < 0
    mine[fresh] = first + np.arange(fresh.sum())
    first += int(fresh.sum())
    tracks.append(mine)
    missing = ~np.isin(numbers, mine) & (frame - seen <= AWAY)
    # Who was just seen comes first, and wins where overlaps are equal.
    places = np.concatenate([boxes, places[missing]])
    numbers = np.concatenate([mine, numbers[missing]])
    seen = np.concatenate([np.full(len(mine), frame), seen[missing]])
  return tracks
