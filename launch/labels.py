"""Converts labels of face detection sets from one format to another.

python -m launch.labels --input=wider_face_val_bbx_gt.txt --output=val.json
python -m launch.labels --input=label.txt --output=images/labels.csv

The formats are wider, wider_mat, retinaface, voc, coco and labels, a labels.csv
for training on scenes; jaxpriv.data.detection_labels describes them.
"""

from absl import flags

from jaxpriv.data.detection_labels import FORMATS, conversion
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


def main(argv: list[str]) -> None:
  common.no_arguments(argv)
  for line in conversion.convert(
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
