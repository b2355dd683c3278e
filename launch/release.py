"""Protects a set of face images with a trained mechanism, for publication.

  python -m launch.release --workdir=runs/demo --input=FOLDER --output=DIR

The output holds images/ (PNG, numbered in an order that says nothing),
labels.csv (attributes, no identities), card.json and CARD.md (what was run,
what the attacks measured, what is not protected). Interrupted, the same command
goes on.
"""

import csv
import datetime
import io
import json

import jax
import numpy as np
from absl import flags, logging
from etils import epath
from ml_collections import ConfigDict

import jaxpriv
from jaxpriv.attacks import evaluation
from jaxpriv.data import pipeline, sources
from jaxpriv.data.records import DataError
from jaxpriv.reports import card as card_lib
from jaxpriv.reports import files
from jaxpriv.reports import results as results_lib
from jaxpriv.training import inference, pictures, progress, run
from jaxpriv.training import mesh as mesh_lib
from launch import common

_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Run directory of launch.train."
)
_INPUT = flags.DEFINE_string(
    "input", None, "Folder of images, with labels.csv or a sub-folder a person;"
    " for --source=tfds its data_dir, for array_record its path.",
)  # fmt: skip
_OUTPUT = flags.DEFINE_string("output", None, "Directory to make.")
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


def main(argv: list[str]) -> None:
  common.no_arguments(argv)
  workdir, output = epath.Path(_WORKDIR.value), epath.Path(_OUTPUT.value)
  mesh_lib.initialize()
  if jax.process_count() > 1:
    raise DataError("launch.release runs as one process: start it once")
  if output.exists():
    raise DataError(
      f"{output} exists: a finished release is not written over. Remove it or"
      " choose another --output."
    )
  config = run.load_config(workdir)
  source = _open(config)
  mesh = mesh_lib.make_mesh()
  phases = common.phases_of(config)
  states = run.load_phases(phases, config, workdir, mesh)
  partial = output.parent / f"{output.name}.partial"
  _begin(partial, config, states, source)
  rows, unreadable = _write_images(
    partial, config, source, phases, states, mesh
  )
  _write_labels(partial / "labels.csv", source.attribute_names, rows)
  _write_card(partial, workdir, config, states, len(rows), unreadable)
  (partial / "release.json").unlink()
  partial.rename(output)
  logging.info("%d protected images in %s", len(rows), output)


def _open(config: ConfigDict) -> sources.Framed:
  """The input, framed as in training, with those attributes it is to keep."""
  data = config.data.copy_and_resolve_references()
  data.source, data.path, data.name = _SOURCE.value, _INPUT.value, _NAME.value
  data.sets, data.cache = tuple(_SETS.value), False
  raw = sources.open_unframed(data)
  wanted = config.release.attributes or config.data.attributes
  names = [name for name in wanted if name in raw.attribute_names]
  lost = [name for name in config.release.attributes if name not in names]
  if lost:
    raise DataError(
      f"config.release.attributes names {', '.join(lost)}, which"
      f" {_INPUT.value} does not have; it has"
      f" {', '.join(raw.attribute_names) or 'no attributes'}"
    )
  share = _MAX_BAD_SHARE.value
  share = data.max_bad_share if share is None else share
  return sources.Framed(raw, data.image_size, data.align, names, share)


def _begin(partial, config, states, source) -> None:
  """Starts an output, or checks that an interrupted one is of this release."""
  key = {
    "parameters": common.parameters_sha256(states),
    "images": len(source),
    "attributes": list(source.attribute_names),
    "input": str(epath.Path(_INPUT.value).absolute()),
    "seed": config.seed,
  }
  path = partial / "release.json"
  if path.exists():
    if json.loads(path.read_text()) != key:
      raise DataError(
        f"{partial} holds an interrupted release of other images or another"
        " run: finish that one or remove the directory"
      )
    logging.info("going on with %s", partial)
    return
  (partial / "images").mkdir(parents=True, exist_ok=True)
  files.write_text(path, json.dumps(key, indent=2))


def _write_images(partial, config, source, phases, states, mesh):
  """Writes what is not written yet.

  Returns:
    (a row of labels.csv for every image, indices of the unreadable ones).
  """
  last = phases[-1]
  fn = last.method.predict["protect"]
  frozen = {name: states[name] for name in last.needs}
  # Neighbours in a folder are often photographs of one person; numbers given in
  # another order do not tell.
  order = np.random.default_rng(config.seed).permutation(len(source))
  size = config.release.batch_size or len(source)
  rows: list[dict] = []
  unreadable: list[int] = []
  with progress.bar("release", len(order), unit="image") as advance:
    for start in range(0, len(order), size):
      indices = order[start : start + size]
      names = [f"images/{start + i:08d}.png" for i in range(len(indices))]
      (batch,) = pipeline.epoch(source, indices, batch_size=size)
      shown = ~batch["padding"][: len(indices)]
      if not all((partial / n).exists() for n in np.array(names)[shown]):
        images = evaluation.released(
          inference.predict(fn, states[last.name], frozen, [batch], mesh)
        )
        for name, image in zip(np.array(names)[shown], images, strict=True):
          pictures.save_png(partial / name, image)
      for i in np.flatnonzero(shown).tolist():
        rows.append({"file": names[i], **_labels(source, batch, i)})
      unreadable += indices[~shown].tolist()
      advance(start + len(indices))
  return rows, sorted(unreadable)


def _labels(source, batch, i: int) -> dict[str, str]:
  values = batch["attributes"][i]
  return {
    name: "" if value < 0 else str(int(value))
    for name, value in zip(source.attribute_names, values, strict=True)
  }


def _write_labels(path, names, rows) -> None:
  stream = io.StringIO()
  writer = csv.DictWriter(stream, ["file", *names], lineterminator="\n")
  writer.writeheader()
  writer.writerows(rows)
  files.write_text(path, stream.getvalue())


def _write_card(partial, workdir, config, states, written, unreadable) -> None:
  metrics = workdir / "evaluation" / "metrics.json"
  results = results_lib.read(metrics) if metrics.exists() else {}
  if not results:
    logging.warning(
        "%s was never evaluated: the card will say that nothing shows that it"
        " protects. Run launch.evaluate first.", workdir,
    )  # fmt: skip
  elif results["parameters_sha256"] != common.parameters_sha256(states):
    raise DataError(
      f"{metrics} was measured on other parameters than those of {workdir}:"
      " run launch.evaluate again"
    )
  card_lib.write(
    partial,
    {
      "mechanism": config.method,
      "created": datetime.datetime.now(datetime.UTC).isoformat(),
      "version": jaxpriv.__version__,
      "config": common.public_config(config),
      "parameters_sha256": common.parameters_sha256(states),
      "counts": {
        "read": written + len(unreadable),
        "written": written,
        "unreadable": len(unreadable),
      },
      # By number and not by name: names of files may name people.
      "unreadable": [
        f"image {index} of the input, counted from 0" for index in unreadable
      ],
      "results": {
        k: v for k, v in results.items() if k not in ("config", "data")
      },
      "terms": config.release.terms,
    },
  )


if __name__ == "__main__":
  flags.mark_flags_as_required(["workdir", "input", "output"])
  common.run(main)
