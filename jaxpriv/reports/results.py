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
| privacy | of training: epsilon, delta, relation, accountant, unit, units, |
| | phases, not_private_phases, pretrained; null if it was not private |
| names | how to write a mechanism for people, where its own name will not do |
| not_claimed | sentences to add to what every report says of its limits |

Any key may be missing. An identification row may name, as `reference`, another
recogniser whose undisguised figure gives it a meaning.
"""

import json
import math
import os
from collections.abc import Mapping
from typing import Any

from etils import epath

from jaxpriv.reports import files

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
}


class ResultsError(ValueError):
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
      if "rate" in columns:
        _check_rate(where, row)

  privacy = results.get("privacy")
  missing = [name for name in GUARANTEE if privacy and name not in privacy]
  if missing:
    raise ResultsError(
      f"privacy lacks {', '.join(missing)}: an epsilon means nothing without"
    )


def _check_rate(where: str, row: Mapping[str, Any]) -> None:
  if not 0 <= row["hits"] <= row["total"] or not row["total"]:
    raise ResultsError(f"{where}: {row['hits']} hits of {row['total']}")
  if abs(row["rate"] - row["hits"] / row["total"]) > 1e-6:
    raise ResultsError(
      f"{where}: rate {row['rate']} is not {row['hits']} / {row['total']}"
    )
  if not row["low"] - 1e-6 <= row["rate"] <= row["high"] + 1e-6:
    raise ResultsError(
      f"{where}: rate {row['rate']} outside its own interval"
      f" {row['low']} to {row['high']}"
    )


def write(
  path: str | os.PathLike, results: Mapping[str, Any]
) -> dict[str, Any]:
  """Checks `results`, writes them as JSON, returns what was written."""
  written = plain(results)
  check(written)
  files.write_text(path, json.dumps(written, indent=2, allow_nan=False) + "\n")
  return written


def read(path: str | os.PathLike) -> dict[str, Any]:
  """Reads what `write` wrote."""
  return json.loads(epath.Path(path).read_text())
