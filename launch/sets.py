"""Makes detection sets of replaced faces, to compare what detectors learn.

  python -m launch.sets --input=FOLDER --output=DIR --runs=gb:runs/gb,rb:runs/rb

The output holds the originals (std), a release of whole photographs by each run
(launch.release --whole), all of them together (grb), and counts.json: faces of
each set by gender and skin. std and grb lead to originals: they are not to be
given away. What is finished is kept when the command is run again.
"""

from absl import flags

from jaxpriv.errors import SettingError
from jaxpriv.release import sets
from jaxpriv.release.photographs import Input
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training.replacing import Whole
from launch import common, whole_flags

_INPUT = common.path_flag("input", None, "Folder of photographs.")
_OUTPUT = common.path_flag("output", None, "Folder of the sets.")
_RUNS = flags.DEFINE_list(
  "runs", None, "NAME:RUN, of each set, the run that replaces its faces."
)
_JOINED = whole_flags.define()
flags.adopt_module_key_flags(whole_flags)
_FACE_THRESHOLD = flags.DEFINE_float(
    "face_threshold", None, "Faces without labels are found with scores above"
    " this, by default that of the runs; 0 finds none.", 0, 1
)  # fmt: skip
_KEEP = flags.DEFINE_bool(
  "keep", True, "Keep photographs in which no face was found."
)
_MAX_BAD_SHARE = flags.DEFINE_float(
  "max_bad_share", None, "Stop when a larger share of images is unreadable."
)


def main(argv: list[str]) -> None:
  common.no_arguments(argv)
  runs = {}
  for entry in _RUNS.value or ():
    name, colon, workdir = entry.partition(":")
    if not colon or not workdir or name in runs:
      raise SettingError(
        f"--runs: {entry!r} is not NAME:RUN, with a name of its own"
      )
    runs[name] = workdir
  faceless = "keep" if _KEEP.value else "leave_out"
  whole = Whole(**_JOINED(), faceless=faceless)
  place = Input(
    _INPUT.value,
    max_bad_share=_MAX_BAD_SHARE.value,
    whole=whole,
    face_threshold=_FACE_THRESHOLD.value,
  )
  with common.errors_name_flags():
    counts = sets.build(place, runs, _OUTPUT.value, mesh_lib.make_mesh())
  for name, found in counts.items():
    groups = (*found["gender"].items(), *found["skin"].items())
    told = ", ".join(f"{count} {group}" for group, count in groups if count)
    print(
      f"{name}: {found['photographs']} photographs, {found['faces']} faces:"
      f" {told}",
      flush=True,
    )


if __name__ == "__main__":
  flags.mark_flags_as_required(["input", "output", "runs"])
  common.run(main)
