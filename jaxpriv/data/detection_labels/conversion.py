"""Labels of one format in, of another out, and what was said on the way."""

from jaxpriv.data import detection_labels
from jaxpriv.data.detection_labels import FORMATS
from jaxpriv.data.records import DataError


def convert(
  path: str, output: str, source: str = "", target: str = "", images: str = ""
) -> list[str]:
  """Converts labels; returns lines about what was read, and what is lost.

  Args:
    path: the labels.
    output: what is written; it must not exist.
    source: the format of the labels; "" to guess.
    target: the format of the output; "" to tell by its name.
    images: the folder of the pictures, whose sizes are then known; or "".

  Raises:
    DataError: the labels cannot be read, the output exists, or pictures are
      missing.
  """
  try:
    target = target or detection_labels.guess_by_name(output)
  except DataError as error:
    raise DataError(f"--output: {error} (--to)") from error
  for file in detection_labels.targets(output, target):
    if file.exists():
      raise DataError(
        f"--output: {file} exists; remove it or choose another output."
      )
  why = "as was said"
  if not source:
    source, why = detection_labels.guess(path)
  annotations = detection_labels.read(path, source)
  if images:
    annotations = detection_labels.with_sizes(annotations, images)
  counts = detection_labels.count(annotations)
  lines = [
    f"{path}: {FORMATS[source].about} ({why})",
    f"  {counts.images} images, {counts.faces} faces:"
    f" {counts.degenerate} degenerate, {counts.outside} outside,"
    f" {counts.without_landmarks} without landmarks, {counts.invalid} invalid",
  ]
  left_out = 0
  if target == "labels":
    left_out = detection_labels.to_labels_csv(annotations, output)
  else:
    detection_labels.write(output, annotations, target)
  lines.append(f"{output}: {FORMATS[target].about}")
  if left_out:
    lines.append(
      f"  {left_out} left out: boxes that are degenerate, outside, or of one"
      " pixel at most"
    )
  if lost := detection_labels.lost(annotations, target):
    lines.append(f"  not held by this format: {', '.join(lost)}")
  return lines
