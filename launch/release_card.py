"""The card of a release: what of a run may be published with it.

Not a program: `launch.release` writes it.
"""

import datetime
import hashlib
import json
from typing import Any

import numpy as np
from absl import logging
from ml_collections import ConfigDict

import jaxpriv
from jaxpriv.data.records import DataError
from jaxpriv.reports import card as card_lib
from jaxpriv.reports import results as results_lib
from launch import common

# What the run that parameters were taken over from is called in public.
OTHER = "another run"


def results_of(workdir, config, states) -> dict[str, Any]:
  """What launch.evaluate measured of these parameters; {}, with a warning, if
  it never did.

  Raises:
    DataError: it measured others.
  """
  metrics = workdir / "evaluation" / "metrics.json"
  if not metrics.exists():
    logging.warning(
        "%s was never evaluated: the card will say that nothing shows that it"
        " protects. Run launch.evaluate first.", workdir,
    )  # fmt: skip
    return {}
  results = results_lib.read(metrics)
  if results["parameters_sha256"] != common.parameters_sha256(
    states
  ) or _what_protects(results["config"]) != _what_protects(config.to_dict()):
    raise DataError(
      f"{metrics} was measured on other parameters or settings than those of"
      f" {workdir}: run launch.evaluate again"
    )
  return results


def audits_of(workdir, config) -> list[dict[str, Any]]:
  """What launch.audit found of this plan, as it may be published.

  Raises:
    DataError: it found a fault.
  """
  path = workdir / "audit" / "audit.json"
  rows = json.loads(path.read_text()) if path.exists() else []
  sigma = config.dp.noise_multiplier
  mine = [row for row in rows if row.get("noise_multiplier") == sigma]
  faults = [fault for row in mine for fault in row["faults"]]
  if faults:
    raise DataError(
      f"the audit of {workdir} found that its claim does not hold:"
      f" {'; '.join(faults)}. Mend that, and train anew"
    )
  if len(mine) < len(rows):
    logging.warning("%s: audits of another plan are left out", path)
  # The counts of a black-box audit are of the training data, without noise.
  shown = ("audit", "phase", "epsilon", "claimed", "ratio", "examples")
  return [{key: row[key] for key in shown if key in row} for row in mine]


def secret_order(secret: str, count: int) -> np.ndarray:
  """The records in an order that cannot be told without the secret.

  Neighbours in a folder are often photographs of one person, and whoever has
  the folder could lay it beside the release. Hashes, since the state of an
  ordinary random generator can be computed from what it drew.
  """
  digests = [
    hashlib.sha256(f"{secret} {index}".encode()).digest()
    for index in range(count)
  ]
  return np.array(sorted(range(count), key=digests.__getitem__), np.int64)


def _what_protects(config: dict[str, Any]) -> Any:
  """The settings that decide what is made of an image."""
  data = {key: config["data"][key] for key in ("image_size", "align")}
  names = ("method", "model", "dtype")
  release = {k: v for k, v in config["release"].items() if k != "terms"}
  chosen = [{name: config[name] for name in names}, data, release]
  if "secret" in chosen[0]["model"]:  # which results do not show
    chosen[0]["model"] = {**chosen[0]["model"], "secret": 0}
  return results_lib.plain(chosen)  # as a file holds it


def public_config(config: ConfigDict) -> dict[str, Any]:
  """The config without its secret and the names of its owner's folders."""
  public = common.public_config(config)
  public["data"] |= {"path": "", "sets": ()}
  public["pretrained"] = OTHER if config.pretrained else ""
  public["data"]["pools"] = public["evaluation"]["colluders"] = ()
  return public


def public_results(results: dict[str, Any]) -> dict[str, Any]:
  """The results without names of folders and files of the data."""
  public = {k: v for k, v in results.items() if k != "config"}
  private = ("path", "unreadable")
  if "data" in results:
    public["data"] = {
      k: v for k, v in results["data"].items() if k not in private
    }
  guarantee = results.get("privacy")
  if guarantee:
    if guarantee.get("pretrained"):
      public["privacy"] = {**guarantee, "pretrained": OTHER}
    # How many people there are is taken for public; of photographs nothing is.
    if guarantee["unit"] == "person":
      public.get("data", {}).pop("images", None)
  return public


def write(partial, config, states, said: dict[str, Any]) -> None:
  """Writes card.json and CARD.md; `said` is what only this release can say."""
  card_lib.write(
    partial,
    {
      "mechanism": config.mechanism,
      "created": datetime.datetime.now(datetime.UTC).isoformat(),
      "version": jaxpriv.__version__,
      "config": public_config(config),
      "parameters_sha256": common.parameters_sha256(states),
      "terms": config.release.terms,
      **said,
    },
  )
