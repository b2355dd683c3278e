"""Converts labels of face detection sets from one format to another.

python -m launch.labels --input=wider_face_val_bbx_gt.txt --output=val.json
python -m launch.labels --input=label.txt --output=images/labels.csv

The formats are wider, wider_mat, retinaface, voc, coco and labels, a labels.csv
for training on scenes; jaxpriv.data.detection_labels describes them.
"""

from absl import flags

from jaxpriv.data import detection_labels
from jaxpriv.data.detection_labels import FORMATS
from jaxpriv.data.records import DataError
from launch import common

_INPUT = common.path_flag("input", None, "The labels; of voc, the folder.")
_OUTPUT = common.path_flag(
  "output", None, "A file or folder that is not there."
)
_FROM = flags.DEFINE_enum(
  "from", None, [*FORMATS], "The input's format; guessed where it is not given."
)
_TO = flags.DEFINE_enum(
  "to", None, [*FORMATS], "The output's format; by its name if it is not given."
)
_IMAGES = common.path_flag(
  "images", "", "The folder of the pictures: all must be there; sizes are read."
)


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


def main(argv: list[str]) -> None:
  common.no_arguments(argv)
  for line in convert(
    _INPUT.value,
    _OUTPUT.value,
    _FROM.value or "",
    _TO.value or "",
    _IMAGES.value,
  ):
    print(line, flush=True)


if __name__ == "__main__":
  flags.mark_flags_as_required(["input", "output"])
  common.run(main)
