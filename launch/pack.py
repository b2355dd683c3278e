"""Packs photographs into ArrayRecord files, framed to one size.

python -m launch.pack --input=FOLDER --output=PACKED --image_size=128

Then train with --config.data.source=array_record --config.data.path=PACKED.
"""

from collections.abc import Iterator

import ml_collections
import numpy as np
import rich
from absl import app, flags
from rich import progress as rich_progress

from jaxpriv.data import alignment, array_record, pipeline, sources
from jaxpriv.data.records import DataError, Record

_BATCH = 64

FLAGS = flags.FLAGS

_SOURCE = flags.DEFINE_enum(
  "source", "folder", ["folder", "tfds"], "What the input is."
)
_INPUT = flags.DEFINE_string(
  "input", None, "The folder, or the data_dir of TFDS.", required=True
)
_OUTPUT = flags.DEFINE_string(
  "output", None, "A folder that does not exist yet.", required=True
)
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
_MAX_BAD = flags.DEFINE_float(
  "max_bad_share", 0.05, "Share of unreadable images that is tolerated.", 0, 1
)


def pack(
  source: sources.Framed,
  output: str,
  *,
  image_format: str = "jpeg",
  framed: bool = True,
  show_progress: bool = True,
) -> int:
  """Writes every readable record of a source; returns how many.

  Raises:
    DataError: the output exists, or too many images are unreadable.
  """
  columns = (
    *rich_progress.Progress.get_default_columns(),
    rich_progress.MofNCompleteColumn(),
  )
  with rich_progress.Progress(*columns, disable=not show_progress) as bar:
    task = bar.add_task("Packing", total=len(source))
    return array_record.write(
      output,
      _records(source, lambda count: bar.advance(task, count)),
      attribute_names=source.attribute_names,
      identity_names=source.identity_names,
      image_format=image_format,
      framed=framed,
    )


def _records(source, advance) -> Iterator[Record]:
  batches = pipeline.epoch(
    source,
    np.arange(len(source)),
    batch_size=_BATCH,
    process_index=0,
    process_count=1,
  )
  for batch in batches:
    padding, index = batch.pop("padding"), batch.pop("index")
    for i in np.flatnonzero(~padding):
      yield {name: value[i] for name, value in batch.items()}
    advance(int((index >= 0).sum()))


def main(argv):
  if len(argv) > 1:
    raise app.UsageError(f"Unknown arguments: {' '.join(argv[1:])}")
  config = ml_collections.ConfigDict(
    dict(
      source=_SOURCE.value,
      path=_INPUT.value,
      name=_NAME.value,
      split=_SPLIT.value,
      sets=tuple(_SETS.value),
    )
  )
  try:
    source = sources.Framed(
      sources.open_unframed(config),
      _SIZE.value,
      _ALIGN.value,
      max_bad_share=_MAX_BAD.value,
    )
    framed = _ALIGN.value != "none"
    count = pack(
      source, _OUTPUT.value, image_format=_FORMAT.value, framed=framed
    )
  except DataError as error:
    raise app.UsageError(str(error)) from error
  people = len(np.unique(source.identities[source.identities >= 0]))
  rich.print(f"{count} images of {people} people packed in {_OUTPUT.value}")
  if source.unreadable:
    rich.print(f"{len(source.unreadable)} unreadable images were left out:")
    for name in source.unreadable:
      rich.print(f"  {name}")


if __name__ == "__main__":
  app.run(main)
