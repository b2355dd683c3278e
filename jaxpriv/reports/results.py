"""metrics.json: what an evaluation measured, checked and readable by anyone.

| key | value |
|---|---|
| mechanism, created, parameters_sha256 | strings |
| config, environment, data, timing | nested dicts |
| identification | rows: mechanism, attack, gallery, recogniser, used_in_loss, |
| | hits, total, rate, low, high, chance |
| attributes | rows: mechanism, attribute, predictor, hits, total, rate, low, |
| | high, majority, original |
| outputs | rows: mechanism, distinct, total, tolerance |
| similarity | rows: mechanism, ssim, psnr |
| tasks | rows: mechanism, score, value, low, high, total, constant (what the |
| | best constant answer scores, or null) |
| precision | mean average precision over attributes, rows: mechanism, reader, |
| | what ("kept" or "hidden"), count (of attributes), value, low, high, |
| | original, constant |
| privacy | of training: epsilon, delta, relation, accountant, unit, units, |
| | phases, not_private_phases, pretrained; null if it was not private |
| reconstruction | of released features, rows: mechanism, attack, knowledge |
| | (a sentence: what the attacker has), pairs (of released features and |
| | photographs that are known, or null), l1, psnr, ssim, ssim_low, ssim_high, |
| | abs_ssim, aligned_ssim, total (photographs); and of an independent |
| | recogniser that reads what was rebuilt: hits, identified_of, rate, low, |
| | high, chance, all null if it was not asked, and undisguised, its rate on |
| | undisguised photographs, or null; and attributes: null, or what an |
| | independent predictor of photographs reads in them: what ("hidden", or |
| | "kept" where none is hidden), balanced (accuracy, 1/2 if nothing is seen), |
| | low, high, undisguised (balanced), and of all labels hits, total, rate, |
| | majority |
| leakage | of released features, rows: mechanism, attack, what (an attribute, |
| | "identity" or "link"), hits, total, rate, low, high, chance, original (the |
| | same attack on unprotected features, or null) |
| curves | SSIM by known pairs, rows: mechanism, threshold_ssim, |
| | pairs_needed (null if the largest did not reach it), largest, points |
| | [[pairs, ssim, low, high], ...], clean and mean (SSIM of those bounds) |
| names | how to write a mechanism for people, where its own name will not do |
| not_claimed | sentences to add to what every report says of its limits |

Any key may be missing. An identification row may name, as `reference`, another
recogniser whose undisguised figure gives it a meaning.

Where features are released, attributes of predictor "decider" are what they are
good for; `original` is the rate on unprotected features. Reconstruction rows of
attack "clean features" (the inverter of unprotected features), "mean image" and
"another photograph" are bounds, not attacks. ssim is the mean over photographs
with its 95% interval by person; aligned_ssim is after the best affine change of
brightness, a negative one included.
"""

import json
import math
import os
from collections.abc import Mapping
from typing import Any

from etils import epath

from jaxpriv import files
from jaxpriv.errors import UserError

_RATE = ("mechanism", "hits", "total", "rate", "low", "high")
GUARANTEE = (
  "epsilon",
  "delta",
  "relation",
  "accountant",
  "unit",
  "units",
  "phases",
)
COLUMNS = {
  "identification": (*_RATE, "attack", "gallery", "recogniser", "chance"),
  "attributes": (*_RATE, "attribute", "predictor", "majority", "original"),
  "outputs": ("mechanism", "distinct", "total"),
  "similarity": ("mechanism", "ssim", "psnr"),
  "tasks": ("mechanism", "score", "value", "low", "high", "total", "constant"),
  "reconstruction": (
    *("mechanism", "attack", "knowledge", "pairs", "l1", "psnr", "ssim"),
    *("ssim_low", "ssim_high", "abs_ssim", "aligned_ssim", "total"),
    *("hits", "identified_of", "rate", "low", "high", "chance", "undisguised"),
    "attributes",
  ),
  "leakage": (*_RATE, "attack", "what", "chance", "original"),
  "precision": (
    *("mechanism", "reader", "what", "count", "value", "low", "high"),
    *("original", "constant"),
  ),
  "curves": (
    *("mechanism", "threshold_ssim", "pairs_needed", "largest", "points"),
    *("clean", "mean"),
  ),
}
# What a predictor says of rebuilt photographs.
ATTRIBUTES = (
  "what",
  "balanced",
  "low",
  "high",
  "undisguised",
  "hits",
  "total",
  "rate",
  "majority",
)
# What a recogniser says of rebuilt photographs: all of it, or nothing.
IDENTIFIED = ("hits", "identified_of", "rate", "low", "high", "chance")


class ResultsError(UserError, ValueError):
  """The results cannot be reported; the message names the row."""


def plain(value: Any) -> Any:
  """Turns arrays, NumPy scalars, paths and tuples into what JSON holds.

  JSON has no NaN and no infinity: they become null.
  """
  if isinstance(value, Mapping):
    return {str(key): plain(item) for key, item in value.items()}
  if isinstance(value, (list, tuple, set, frozenset)):
    return [plain(item) for item in value]
  if hasattr(value, "tolist"):  # Arrays and scalars, NumPy's and JAX's.
    return plain(value.tolist())
  if value is None or isinstance(value, (str, bool, int)):
    return value
  if isinstance(value, float):
    return value if math.isfinite(value) else None
  if hasattr(value, "to_dict"):  # ml_collections.ConfigDict
    return plain(value.to_dict())
  return str(value)


def check(results: Mapping[str, Any]) -> None:
  """Raises ResultsError where a row lacks a column or contradicts itself."""
  for section, columns in COLUMNS.items():
    for number, row in enumerate(results.get(section, [])):
      where = f"row {number} of {section}"
      missing = [name for name in columns if name not in row]
      if missing:
        raise ResultsError(f"{where} lacks {', '.join(missing)}: {dict(row)}")
      if section == "reconstruction":
        _check_reconstruction(where, row)
      elif section == "curves":
        _check_curve(where, row)
      elif section == "precision":
        _check_numbers(where, row, "value", "low", "high")
        _check_interval(
          where, "precision", *(row[name] for name in ("value", "low", "high"))
        )
      elif "rate" in columns:
        _check_rate(where, row)

  privacy = results.get("privacy")
  missing = [name for name in GUARANTEE if privacy and name not in privacy]
  if missing:
    raise ResultsError(
      f"privacy lacks {', '.join(missing)}: an epsilon means nothing without"
    )


def _check_rate(where: str, row: Mapping[str, Any]) -> None:
  _check_hits(where, row)
  _check_interval(where, "rate", row["rate"], row["low"], row["high"])


def _check_hits(where: str, row: Mapping[str, Any]) -> None:
  if not 0 <= row["hits"] <= row["total"] or not row["total"]:
    raise ResultsError(f"{where}: {row['hits']} hits of {row['total']}")
  if abs(row["rate"] - row["hits"] / row["total"]) > 1e-6:
    raise ResultsError(
      f"{where}: rate {row['rate']} is not {row['hits']} / {row['total']}"
    )


def _check_interval(where: str, name: str, value, low, high) -> None:
  if not low - 1e-6 <= value <= high + 1e-6:
    raise ResultsError(
      f"{where}: {name} {value} outside its own interval {low} to {high}"
    )


def _check_numbers(where: str, row: Mapping[str, Any], *names: str) -> None:
  """Null is what was not a number: a psnr may be infinite, an SSIM may not."""
  for name in names:
    if row[name] is None:
      raise ResultsError(f"{where}: {name} is null")


def _check_reconstruction(where: str, row: Mapping[str, Any]) -> None:
  similar = ("ssim", "ssim_low", "ssim_high")
  _check_numbers(where, row, *similar, "l1", "abs_ssim", "aligned_ssim")
  _check_interval(where, "ssim", *(row[name] for name in similar))
  if not row["total"]:
    raise ResultsError(f"{where}: no photograph was rebuilt")
  if row["pairs"] is not None and row["pairs"] < 0:
    raise ResultsError(f"{where}: {row['pairs']} pairs")
  missing = [name for name in IDENTIFIED if row[name] is None]
  if not missing:
    _check_rate(where, {**row, "total": row["identified_of"]})
  elif len(missing) < len(IDENTIFIED):
    raise ResultsError(
      f"{where}: {', '.join(missing)} null, though people were identified"
    )
  read = row["attributes"]
  if read is not None:
    missing = [name for name in ATTRIBUTES if read.get(name) is None]
    if missing:
      raise ResultsError(f"{where}: attributes lack {', '.join(missing)}")
    where = f"attributes of {where}"
    _check_hits(where, read)
    ends = (read[name] for name in ("balanced", "low", "high"))
    _check_interval(where, "balanced accuracy", *ends)


def _check_curve(where: str, row: Mapping[str, Any]) -> None:
  _check_numbers(where, row, "threshold_ssim", "largest")
  for point in row["points"]:
    if len(point) != 4 or None in point:
      raise ResultsError(f"{where}: {point} is not pairs, ssim, low, high")
    _check_interval(where, f"ssim of {point[0]} pairs", *point[1:])
  pairs = [point[0] for point in row["points"]]
  if pairs != sorted(set(pairs)) or any(number < 1 for number in pairs):
    raise ResultsError(f"{where}: pairs {pairs} are not 1 or more, ascending")
  if pairs and pairs[-1] > row["largest"]:
    raise ResultsError(f"{where}: {pairs[-1]} pairs of {row['largest']}")
  needed, wanted = row["pairs_needed"], row["threshold_ssim"]
  if needed is None:
    reached = [n for n, _, low, _ in row["points"] if low > wanted]
    if reached:
      raise ResultsError(
        f"{where}: pairs_needed is null, but {reached[0]} pairs reach {wanted}"
      )
  elif not 1 <= needed <= row["largest"]:
    raise ResultsError(
      f"{where}: {needed} pairs needed, of {row['largest']} tried"
    )


def write(
  path: str | os.PathLike, results: Mapping[str, Any]
) -> dict[str, Any]:
  """Checks `results`, writes them as JSON, returns what was written."""
  written = plain(results)
  check(written)
  files.atomic_write(
    path, json.dumps(written, indent=2, allow_nan=False) + "\n"
  )
  return written


def read(path: str | os.PathLike) -> dict[str, Any]:
  """Reads what `write` wrote."""
  return json.loads(epath.Path(path).read_text())
