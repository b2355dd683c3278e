"""Publishes what a run protects: face images, features, or the model.

  python -m launch.release --workdir=runs/demo --input=FOLDER --output=DIR
  python -m launch.release --workdir=runs/private --output=DIR

The first is for mechanisms that protect photographs, the second for those that
protect the people a model has learned from; the latter takes an evaluation. The
output holds card.json and CARD.md (what was run, what the attacks measured,
what is not protected), and of

images    images/ (PNG, numbered in an order that says nothing) and labels.csv
          (attributes, no identities). Interrupted, the same command goes on.
          The log names unreadable images; the card only has their numbers in
          the release.
features  a feature pool, which others train on with data.source=feature_pools:
          feature maps (ArrayRecord, in an order that says nothing), index.json
          (labels), parameters.npz and config.json (the public network: how to
          make features of one's own). Interrupted, it starts anew.
photographs
          with --whole, in place of images/: whole photographs in which the
          faces are replaced, under their names, with a labels.csv of boxes
          and points. What is around a face stays as it was.
a model   parameters.npz and config.json, from which the network is built.

A mechanism may release several of them, in one folder with one card.
"""

import jax
from absl import flags

from jaxpriv.data.records import DataError
from jaxpriv.release import release
from jaxpriv.release.photographs import Input
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training.replacing import Whole
from launch import common, whole_flags

_WORKDIR = common.path_flag("workdir", None, "Run directory of launch.train.")
_INPUT = common.path_flag(
    "input", None, "Folder of images, with labels.csv or a sub-folder a person;"
    " for --source=tfds its data_dir, for array_record its path. None where"
    " only the model is released.",
)  # fmt: skip
_OUTPUT = common.path_flag("output", None, "Directory to make.")
_SOURCE = flags.DEFINE_enum(
  "source", "folder", ("folder", "tfds", "array_record"), "What --input is."
)
_NAME = flags.DEFINE_string("name", "", "TFDS: celeb_a or lfw.")
_SETS = flags.DEFINE_list(
  "sets", [], "Folder: keep these values of column set."
)
_MAX_BAD_SHARE = flags.DEFINE_float(
    "max_bad_share", None, "Stop when a larger share of the images is"
    " unreadable; by default the share of the training run.",
)  # fmt: skip
_FACE_THRESHOLD = flags.DEFINE_float(
    "face_threshold", None, "Folder: faces without labels are found with scores"
    " above this, by default that of the training run; 0 finds none.", 0, 1
)  # fmt: skip

_WHOLE = flags.DEFINE_bool(
  "whole", False, "Folder: put the faces back into whole photographs."
)
_JOINED = whole_flags.define("With --whole: ")
flags.adopt_module_key_flags(whole_flags)
_FACELESS = flags.DEFINE_enum(
    "faceless", "leave_out", ("leave_out", "keep"), "With --whole: photographs"
    " in which no face was found, or with a row that tells no place; they may"
    " show faces all the same. Those with a place that cannot be right are left"
    " out in any case.",
)  # fmt: skip
_VISIBLE = flags.DEFINE_multi_enum(
    "visible", [], ("eyes", "mouth"), "With --whole: keep these of each face;"
    " may be given twice.",
)  # fmt: skip
_TRACKS = flags.DEFINE_bool(
    "tracks", False, "With --whole: photographs of a folder are the frames of a"
    " video in the order of their names, and a person keeps one new face.",
)  # fmt: skip


def _whole() -> Whole | None:
  if not _WHOLE.value:
    return None
  return Whole(
    **_JOINED(),
    faceless=_FACELESS.value,
    visible=tuple(_VISIBLE.value),
    tracks=_TRACKS.value,
  )


def main(argv: list[str]) -> None:
  common.no_arguments(argv)
  mesh_lib.initialize()
  if jax.process_count() > 1:
    raise DataError("launch.release runs as one process: start it once")
  place = None
  if _INPUT.value:
    place = Input(
      _INPUT.value,
      _SOURCE.value,
      _NAME.value,
      tuple(_SETS.value),
      _MAX_BAD_SHARE.value,
      _FACE_THRESHOLD.value,
      _whole(),
    )
  with common.errors_name_flags():
    release.release(_WORKDIR.value, _OUTPUT.value, mesh_lib.make_mesh(), place)


if __name__ == "__main__":
  flags.mark_flags_as_required(["workdir", "output"])
  common.run(main)
