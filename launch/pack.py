"""Packs photographs into ArrayRecord files, framed to one size.

python -m launch.pack --input=FOLDER --output=PACKED --image_size=128

Then train with --config.data.source=array_record --config.data.path=PACKED.
"""

import pathlib

import ml_collections
import numpy as np
from absl import flags, logging

from jaxpriv.data import (
  account,
  alignment,
  array_record,
  copies,
  pipeline,
  sources,
)
from jaxpriv.data.records import DataError, Source
from jaxpriv.training import progress, unlabelled, witnesses
from launch import common

_BATCH = 64

_SOURCE = flags.DEFINE_enum(
  "source", "folder", ["folder", "tfds"], "What the input is."
)
_INPUT = common.path_flag("input", None, "The folder, or the data_dir of TFDS.")
_OUTPUT = common.path_flag("output", None, "A folder that does not exist.")
_SIZE = flags.DEFINE_integer("image_size", 128, "Side of the packed images.", 8)
_ALIGN = flags.DEFINE_enum(
  "align", "landmarks", alignment.ALIGNMENTS, "How faces are framed."
)
_SETS = flags.DEFINE_list("sets", [], "Folder: only these sets of labels.csv.")
_NAME = flags.DEFINE_string("name", "celeb_a", "TFDS: the data set.")
_SPLIT = flags.DEFINE_string("split", "", "TFDS: a split; all when empty.")
_FORMAT = flags.DEFINE_enum(
  "format", "jpeg", array_record.IMAGE_FORMATS, "jpeg (quality 95) or png."
)
_MAX_BAD_SHARE = flags.DEFINE_float(
  "max_bad_share", 0.05, "Share of unreadable images that is tolerated.", 0, 1
)
_FACE_THRESHOLD = flags.DEFINE_float(
    "face_threshold", witnesses.FACE, "Folder: faces without labels are found"
    " with scores above this; 0 finds none.", 0, 1
)  # fmt: skip
_COPIES = flags.DEFINE_enum(
    "copies", copies.REFUSE, copies.CHOICES, "Of photographs that show the same"
    " picture one is packed. Under the names of several people: refuse, or"
    " leave_out all of them. keep looks for none.",
)  # fmt: skip
_LEVEL = flags.DEFINE_integer(
  "level", 1, "Folder without labels.csv: how deep the folders of people are."
)


def pack(
  source: Source,
  output: str,
  *,
  image_format: str = "jpeg",
  framed: bool = True,
) -> int:
  """Writes every readable record of a source; returns how many.

  Raises:
    DataError: the output exists, or too many images are unreadable.
  """
  with progress.bar("packing", len(source), unit="image") as advance:
    return array_record.write(
      output,
      _records(source, advance),
      attribute_names=source.attribute_names,
      identity_names=source.identity_names,
      image_format=image_format,
      framed=framed,
    )


def _records(source, advance):
  batches = pipeline.epoch(
    source,
    np.arange(len(source)),
    batch_size=_BATCH,
    process_index=0,
    process_count=1,
  )
  done = 0
  for batch in batches:
    padding, index = batch.pop("padding"), batch.pop("index")
    for i in np.flatnonzero(~padding):
      yield {name: value[i] for name, value in batch.items()}
    done += int((index >= 0).sum())
    advance(done)


def main(argv: list[str]) -> None:
  common.no_arguments(argv)
  above, below = (
    pathlib.Path(str(path)).expanduser().resolve()
    for path in (_INPUT.value, _OUTPUT.value)
  )
  if above == below or above in below.parents:
    raise DataError(
      f"--output: {_OUTPUT.value} is inside of --input, {_INPUT.value}, where"
      " packed photographs would be taken for others. Choose a folder outside"
    )
  data = ml_collections.ConfigDict(
    dict(
      source=_SOURCE.value,
      path=_INPUT.value,
      name=_NAME.value,
      split=_SPLIT.value,
      sets=tuple(_SETS.value),
      align=_ALIGN.value,
      face_threshold=_FACE_THRESHOLD.value,
      level=_LEVEL.value,
    )
  )
  with common.errors_name_flags():
    source = sources.Framed(
      sources.open_unframed(data, unlabelled.find(data)),
      _SIZE.value,
      _ALIGN.value,
      max_bad_share=_MAX_BAD_SHARE.value,
    )
    with progress.bar("copies", len(source), unit="image") as advance:
      chosen = copies.settle(
        source, _COPIES.value, _ALIGN.value, lambda n, of: advance(n)
      )
    framed = _ALIGN.value in alignment.OF_FACES
    count = pack(
      chosen, str(_OUTPUT.value), image_format=_FORMAT.value, framed=framed
    )
  people = len(np.unique(chosen.identities[chosen.identities >= 0]))
  logging.info(
    "%d images of %d people packed in %s", count, people, _OUTPUT.value
  )
  account.tell(str(_INPUT.value), account.of(chosen))


if __name__ == "__main__":
  flags.mark_flags_as_required(["input", "output"])
  common.run(main)
