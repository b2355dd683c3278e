"""The scores of a model that reads faces, as they are written for people."""

from collections.abc import Iterator, Mapping
from typing import Any

from jaxpriv.reports import wording

# How a score is called and written, and whether more of it is better.
SCORES = {
  "detection_ap": ("Detection, average precision", wording.percent, True),
  "landmark_error": (
    "Landmarks, mean error / box side",
    wording.percent,
    False,
  ),
  "visibility_accuracy": ("Visibility, accuracy", wording.percent, True),
  "pose_error": ("Pose, mean absolute error", wording.degrees, False),
  "yaw_within_15": ("Pose, yaw within 15°", wording.percent, True),
  "gender_accuracy": ("Gender, accuracy", wording.percent, True),
}


def rows(results: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
  """Yields a row per score: title, figure, interval, constant, total, better.

  `better` is whether the whole interval is on the right side of what the best
  constant answer scores; None where there is none.
  """
  for row in results.get("tasks", []):
    score = row["score"]
    if score in SCORES:
      title, write, more = SCORES[score]
    elif score.endswith("_accuracy"):
      of = wording.name(score.removesuffix("_accuracy"))
      title, write, more = f"{of}, accuracy", wording.percent, True
    else:
      title, write, more = wording.name(score), wording.real, True
    constant, better = row["constant"], None
    if constant is not None:
      better = row["low"] > constant if more else row["high"] < constant
    yield {
      "score": score,
      "title": title,
      "figure": write(row["value"]),
      "interval": f"{write(row['low'])} – {write(row['high'])}",
      "constant": write(constant),
      "total": row["total"],
      "better": better,
    }
