"""Publishes what a mechanism protects: face images, features, or the model.

  python -m launch.release --workdir=runs/demo --input=FOLDER --output=DIR
  python -m launch.release --workdir=runs/private --output=DIR

The first is for mechanisms that protect images. The output holds images/ (PNG,
numbered in an order that says nothing), labels.csv (attributes, no identities),
card.json and CARD.md (what was run, what the attacks measured, what is not
protected). Interrupted, the same command goes on. The log names unreadable
images; the card only has their numbers in the release.

For mechanisms that protect features it is the same command, and the output is a
feature pool, which others train on with data.source=feature_pools: feature maps
(ArrayRecord, in an order that says nothing), index.json (labels),
parameters.npz and config.json (the public classifier: how to make features of
one's own), card.json and CARD.md. Interrupted, it starts anew.

The second is for those that protect the people a model has learned from. The
output holds parameters.npz, config.json (from which the network is built),
card.json and CARD.md (the guarantee, the audits, the scores, how to use it). It
takes an evaluation.
"""

import collections
import csv
import hashlib
import io
import json
import os
import secrets
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags, logging
from etils import epath
from ml_collections import ConfigDict

from jaxpriv import files
from jaxpriv.attacks import evaluation
from jaxpriv.data import alignment, pipeline, sources
from jaxpriv.data.records import DataError
from jaxpriv.reports import card as card_lib
from jaxpriv.reports import model_card
from jaxpriv.training import export, inference, pictures, progress, run
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training import workdir as workdir_lib
from launch import common, release_card, release_features

_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Run directory of launch.train."
)
_INPUT = flags.DEFINE_string(
    "input", None, "Folder of images, with labels.csv or a sub-folder a person;"
    " for --source=tfds its data_dir, for array_record its path. None where the"
    " model is released.",
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


# Of a released model; the first two are made anew from the run.
MODEL_FILES = ("parameters.npz", "config.json", "card.json", "CARD.md")


class Written(NamedTuple):
  """What was written to images/.

  Attributes:
    rows: of labels.csv, one for each image.
    gaps: names that no image has, as its original is unreadable.
    framing: by what the faces were framed, one of `alignment.ALIGNMENTS`, and
      how many.
  """

  rows: list[dict[str, str]]
  gaps: list[str]
  framing: collections.Counter[str]


def main(argv: list[str]) -> None:
  common.no_arguments(argv)
  workdir, output = epath.Path(_WORKDIR.value), epath.Path(_OUTPUT.value)
  mesh_lib.initialize()
  if jax.process_count() > 1:
    raise DataError("launch.release runs as one process: start it once")
  partial = output.parent / f"{output.name}.partial"
  # What is released, and the secret of its order. It lies beside the folder, is
  # there before it and is removed after the renaming: images are never without
  # it and never published with it.
  journal = output.parent / f"{output.name}.partial.json"
  if output.exists():
    if not partial.exists():  # killed between renaming and removing
      journal.unlink(missing_ok=True)
    raise DataError(
      f"{output} exists: a finished release is not written over. Remove it or"
      " choose another --output."
    )
  config = workdir_lib.load_config(workdir)
  mesh = mesh_lib.make_mesh()
  phases = common.phases_of(config)
  if phases[-1].method.outputs.features:
    if not _INPUT.value:
      raise DataError(f"--input: {config.method} protects features; of what?")
    with common.errors_name_flags():
      raw, source = _open(config)
      release_features.release(
        workdir, output, partial, config, phases, mesh, raw, source
      )
    return
  if not phases[-1].method.outputs.image:
    if journal.exists():
      raise DataError(
        f"{partial} holds an interrupted release of images: finish that one,"
        f" remove it and {journal}, or choose another --output"
      )
    _release_model(workdir, output, partial, config, phases, mesh)
    return
  if not _INPUT.value:
    raise DataError(f"--input: {config.method} protects images; which ones?")
  with common.errors_name_flags():
    raw, source = _open(config)
  states = run.load_phases(phases, config, workdir, mesh)
  secret = _begin(partial, journal, _key(config, states, source))
  with common.errors_name_flags():
    written = _write_images(
      partial,
      config,
      raw,
      source,
      release_card.secret_order(secret, len(source)),
      _protect(phases, states, mesh),
    )
  _write_labels(partial / "labels.csv", source.attribute_names, written.rows)
  _write_image_card(partial, workdir, config, states, written)
  partial.rename(output)
  journal.unlink()
  logging.info(
      "%d protected images in %s; left out as unreadable, and named above: %d;"
      " faces framed %s", len(written.rows), output, len(written.gaps),
      card_lib.framed(written.framing),
  )  # fmt: skip


def _release_model(workdir, output, partial, config, phases, mesh) -> None:
  """Writes the parameters, how to build the network, and the card.

  Raises:
    DataError: there is an --input, or nothing says how private the model is.
  """
  if _INPUT.value:
    raise DataError(
      f"{config.method} protects the people it has learned from, not"
      " photographs: what it releases is the model. Leave --input out"
    )
  states = run.load_phases(phases, config, workdir, mesh)
  results = release_card.results_of(workdir, config, states)
  if not results.get("tasks"):
    raise DataError(
      f"{workdir} was never evaluated on its own test people, or had nothing to"
      " be scored by, and a card without the guarantee and the scores says"
      f" nothing: run launch.evaluate --workdir={workdir} first"
    )
  audits = release_card.audits_of(workdir, config)
  if partial.exists():  # a model is written in no time: there is no going on
    if not all(p.name.startswith(MODEL_FILES) for p in partial.iterdir()):
      raise DataError(
        f"{partial} is in the way and holds what is not of a model: remove it"
        " or choose another --output"
      )
    partial.rmtree()
  partial.mkdir(parents=True)
  used = {name: states[name] for name in (*phases[-1].needs, phases[-1].name)}
  written = export.write(partial / "parameters.npz", used)
  public = release_card.public_config(config)
  workdir_lib.save_config(partial, ConfigDict(public))
  release_card.write(
    partial,
    config,
    states,
    {
      "model": {
        "parameters": sum(x.size for x in written.values()),
        "functions": sorted(
          set(phases[-1].method.outputs.given()) & set(model_card.FUNCTIONS)
        ),
        "sha256": {
          name: hashlib.sha256((partial / name).read_bytes()).hexdigest()
          for name in MODEL_FILES[:2]
        },
      },
      "audits": audits,
      "results": release_card.public_results(results),
    },
  )
  partial.rename(output)
  if not results.get("privacy"):
    logging.warning("this model is NOT private, and its card says so")
  logging.info("The model and its card are in %s", output)


def _open(config: ConfigDict) -> tuple[Any, sources.Framed]:
  """The input as it is, and framed as in training with what is to be kept."""
  data = config.data.copy_and_resolve_references()
  data.source, data.path, data.name = _SOURCE.value, _INPUT.value, _NAME.value
  data.sets, data.cache = tuple(_SETS.value), False
  raw = sources.open_unframed(data)
  module = common.module_of(config)
  asked = config.release.attributes
  if hasattr(module, "split_attributes") and not asked:
    asked, _ = module.split_attributes(config)  # the others are to stay hidden
  wanted = asked or config.data.attributes
  names = [name for name in wanted if name in raw.attribute_names]
  lost = [name for name in asked if name not in names]
  if lost:
    raise DataError(
      f"what is released is labelled with {', '.join(lost)}, which"
      f" {_INPUT.value} does not have: name others in"
      " config.release.attributes; it has"
      f" {', '.join(raw.attribute_names) or 'no attributes'}"
    )
  share = _MAX_BAD_SHARE.value
  share = data.max_bad_share if share is None else share
  framed = sources.Framed(raw, data.image_size, data.align, names, share)
  return raw, framed


def _key(config, states, source) -> dict[str, Any]:
  """What a release is of: with the same key, the same images are made."""
  listing = hashlib.sha256()
  for index in range(len(source)):
    listing.update(os.fsencode(source.describe(index) + "\0"))
  return {
    "config": card_lib.config_hash(config.to_dict()),
    "parameters": common.parameters_sha256(states),
    "--input": str(epath.Path(_INPUT.value).absolute()),
    "--source": _SOURCE.value,
    "--name": _NAME.value,
    "--sets": list(_SETS.value),
    "list of images": listing.hexdigest(),
    "attributes": list(source.attribute_names),
  }


def _begin(partial, journal, key) -> str:
  """Starts an output, or goes on with an interrupted one of the same key.

  Returns:
    the secret of its order.

  Raises:
    DataError: what was begun there is another release, or nobody knows which.
  """
  if not partial.exists():
    begun = {"key": key, "secret": secrets.token_hex(32)}
    files.atomic_write(journal, json.dumps(begun, indent=2))
    (partial / "images").mkdir(parents=True)
    return begun["secret"]
  if not journal.exists():
    raise DataError(
      f"{partial} holds an interrupted release, and {journal}, which says of"
      f" what, is missing: remove {partial} to start anew"
    )
  begun = json.loads(journal.read_text())
  other = [name for name in key if key[name] != begun["key"].get(name)]
  if other:
    raise DataError(
      f"{partial} holds an interrupted release of other images or another run"
      f" ({', '.join(other)} differ): finish that one or remove the directory"
    )
  logging.info("going on with %s", partial)
  return begun["secret"]


def _protect(phases, states, mesh) -> Callable[[Any], np.ndarray]:
  """The mechanism, from a batch to what is published of its examples."""
  last = phases[-1]
  frozen = {name: states[name] for name in last.needs}

  def protect(batch):
    return evaluation.released(
      inference.predict(
        last.method.outputs.image, states[last.name], frozen, [batch], mesh
      )
    )

  return protect


def _write_images(partial, config, raw, source, order, protect) -> Written:
  """Writes what is not written yet."""
  size = config.release.batch_size or len(source)
  written = Written([], [], collections.Counter())
  with progress.bar("release", len(order), unit="image") as advance:
    for start in range(0, len(order), size):
      indices = order[start : start + size]
      names = [f"images/{start + i:08d}.png" for i in range(len(indices))]
      (batch,) = pipeline.epoch(source, indices, batch_size=size)
      shown = ~batch["padding"][: len(indices)]
      if not all((partial / n).exists() for n in np.array(names)[shown]):
        for name, image in zip(
          np.array(names)[shown], protect(batch), strict=True
        ):
          pictures.save_png(partial / name, image)
      for i in np.flatnonzero(shown).tolist():
        written.rows.append({"file": names[i], **_labels(source, batch, i)})
        photograph = raw.photograph(indices[i])
        means = alignment.framed_by(photograph, config.data.align)
        written.framing[means] += 1
      written.gaps.extend(np.array(names)[~shown].tolist())
      advance(start + len(indices))
  return written


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
  files.atomic_write(path, stream.getvalue())


def _write_image_card(partial, workdir, config, states, written: Written):
  results = release_card.results_of(workdir, config, states)
  release_card.write(
    partial,
    config,
    states,
    {
      "counts": {
        "read": len(written.rows) + len(written.gaps),
        "written": len(written.rows),
        "unreadable": len(written.gaps),
      },
      # Names of files may name people, and places in the input tell the order.
      "unreadable": [f"{name} is left out" for name in written.gaps],
      "framing": written.framing,
      "results": release_card.public_results(results),
    },
  )


if __name__ == "__main__":
  flags.mark_flags_as_required(["workdir", "output"])
  common.run(main)
