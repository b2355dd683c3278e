"""Finds faces by a detector that was trained here, and writes labels of them.

  python -m launch.find --workdir=runs/detection --input=FOLDER \
    --output=FOLDER/labels.csv

Look at the labels and correct them: a labels.csv in the folder says where faces
are, to launch.train, launch.release and launch.sets. It says neither who is
shown, even where sub-folders did, nor how heads are turned. Where labels name
no face of a photograph, these programs find some by a network of others, unless
config.data.face_threshold, or --face_threshold, is 0. The format is told by the
name of the output, or by --to; see launch.labels.
"""

from absl import flags, logging

from jaxpriv.data import detection_labels
from jaxpriv.data.detection_labels import FORMATS
from jaxpriv.data.records import DataError
from jaxpriv.release import found
from jaxpriv.training import mesh as mesh_lib
from launch import common

_WORKDIR = common.path_flag("workdir", None, "A run of a detector.")
_INPUT = common.path_flag("input", None, "Folder of photographs.")
_OUTPUT = common.path_flag("output", None, "Labels, which are not there yet.")
_TO = flags.DEFINE_enum(
  "to", None, [*FORMATS], "Their format; by their name if it is not given."
)
_THRESHOLD = flags.DEFINE_float(
  "threshold", 0.5, "The least score of a face.", 0, 1
)
_LONGEST = flags.DEFINE_integer(
    "longest", 1024, "Photographs with a longer side, in pixels, are looked at"
    " in this size.", 32
)  # fmt: skip


def main(argv: list[str]) -> None:
  common.no_arguments(argv)
  mesh_lib.initialize()
  try:
    kind = _TO.value or detection_labels.guess_by_name(_OUTPUT.value)
  except DataError as error:
    raise DataError(f"--output: {error} (--to)") from error
  for file in detection_labels.targets(_OUTPUT.value, kind):
    if file.exists():
      raise DataError(
        f"--output: {file} exists; remove it or choose another output."
      )
  result = found.find(
    _WORKDIR.value,
    _INPUT.value,
    _THRESHOLD.value,
    _LONGEST.value,
    mesh_lib.make_mesh(),
  )
  detection_labels.write(_OUTPUT.value, result.annotations, kind)
  counts = detection_labels.count(result.annotations)
  faceless = sum(not len(one.boxes) for one in result.annotations)
  logging.info(
    "%d faces in %d photographs, %d of which show none; %d unreadable: %s",
    counts.faces,
    counts.images,
    faceless,
    len(result.unreadable),
    _OUTPUT.value,
  )


if __name__ == "__main__":
  flags.mark_flags_as_required(["workdir", "input", "output"])
  common.run(main)
