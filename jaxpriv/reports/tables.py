"""The rows of the results, judged, grouped and ordered as they are shown."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jaxpriv.reports import features, summary, verdicts

Rows = Sequence[Mapping[str, Any]]


def unique(rows: Rows, key: str) -> list[Any]:
  """Returns the values of a column in the order in which they first appear."""
  return list(dict.fromkeys(row[key] for row in rows))


def identification(results: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
  """Yields a group per recogniser and gallery: blocks of rows by mechanism.

  The undisguised rows come first, then the mechanism of the run. Each row gains
  `undisguised`, `mine`, `verdict`, `witness` (its undisguised row or None) and
  `borrowed` (where the witness was measured, if not here).
  """
  rows = results.get("identification", [])
  mine = results.get("mechanism")
  for recogniser, gallery in dict.fromkeys(map(_place, rows)):
    group = [row for row in rows if _place(row) == (recogniser, gallery)]
    undisguised = [r for r in group if r["attack"] == verdicts.UNDISGUISED]
    names = sorted(unique(group, "mechanism"), key=lambda name: name != mine)
    blocks = [undisguised, *(verdicts.attacks(group, name) for name in names)]
    yield {
      "recogniser": recogniser,
      "gallery": gallery,
      "used_in_loss": any(row.get("used_in_loss") for row in group),
      "blocks": [
        [_judged(row, rows, mine) for row in block] for block in blocks if block
      ],
    }


def _place(row: Mapping[str, Any]) -> tuple[str, str]:
  return row["recogniser"], row["gallery"]


def _judged(row: Mapping[str, Any], rows: Rows, mine: Any) -> dict[str, Any]:
  undisguised = row["attack"] == verdicts.UNDISGUISED
  witness = verdicts.reference(row, rows)
  places = zip(_place(witness), _place(row)) if witness else ()
  return dict(
    row,
    undisguised=undisguised,
    mine=not undisguised and row["mechanism"] == mine,
    verdict=verdicts.identification(row, rows),
    witness=witness,
    borrowed=", ".join(there for there, here in places if there != here),
  )


def attributes(results: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
  """Yields a group per mechanism: rows by attribute, cells by predictor."""
  rows = results.get("attributes", [])
  predictors = unique(rows, "predictor")
  for mechanism in verdicts.mechanisms(results):
    group = [row for row in rows if row["mechanism"] == mechanism]
    cells = {
      (row["attribute"], row["predictor"]): dict(
        row, verdict=verdicts.attribute(row)
      )
      for row in group
    }
    majority = {row["attribute"]: row["majority"] for row in group}
    if group:
      yield {
        "mechanism": mechanism,
        "rows": [
          {
            "attribute": attribute,
            "majority": majority[attribute],
            "cells": [cells.get((attribute, p)) for p in predictors],
          }
          for attribute in majority
        ],
      }


def reconstruction(results: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
  """Yields the bounds, then a group per mechanism, its strongest attack first.

  The group of the bounds has no mechanism. Each row gains `verdict`, `floor`
  and `ceiling` (SSIM of the mean image and from unprotected features, or None).
  """
  rows = results.get("reconstruction", [])
  bounds = [
    features.bound(rows, name, mechanism)
    for name in verdicts.BOUNDS
    for mechanism in unique(rows, "mechanism")
  ]
  shown: list[Mapping[str, Any]] = []
  for row in bounds:
    if row and row not in shown:
      shown.append(row)
  groups = [(None, shown)] + [
    (name, features.attacks(rows, name))
    for name in verdicts.mechanisms(results)
  ]
  for mechanism, group in groups:
    if group:
      yield {
        "mechanism": mechanism,
        "several": len(unique(group, "mechanism")) > 1,
        "rows": [_rebuilt(row, rows) for row in group],
      }


def _rebuilt(row: Mapping[str, Any], rows: Rows) -> dict[str, Any]:
  ends = {}
  for end, name in (("floor", verdicts.MEAN), ("ceiling", verdicts.CLEAN)):
    found = features.bound(rows, name, row["mechanism"])
    ends[end] = found["ssim"] if found else None
  return dict(row, verdict=features.reconstruction(row, rows), **ends)


def leakage(results: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
  """Yields a group per mechanism, the worst first; rows gain `verdict`."""
  for mechanism in verdicts.mechanisms(results):
    group = features.leaks(results, mechanism)
    if group:
      yield {
        "mechanism": mechanism,
        "rows": [
          dict(row, verdict=features.leakage(row, results)) for row in group
        ],
      }


def curves(results: Mapping[str, Any]) -> list[dict[str, Any]]:
  """Returns the curves, the run's first; they gain `verdict` and `best`."""
  return [
    dict(
      row,
      verdict=features.curve(row),
      best=max((point[1] for point in row["points"]), default=None),
    )
    for mechanism in verdicts.mechanisms(results)
    for row in features.curves(results, mechanism)
  ]


def precision(results: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
  """Yields a group per mechanism of mean average precisions."""
  rows = results.get("precision", [])
  for mechanism in unique(rows, "mechanism"):
    yield {
      "mechanism": mechanism,
      "rows": [row for row in rows if row["mechanism"] == mechanism],
    }


def outputs(results: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
  """Yields a row per mechanism: distinct outputs, SSIM and PSNR, or None."""
  for row in summary.comparison(results):
    made, alike = row["outputs"] or {}, row["similarity"] or {}
    if made or alike:
      total = made.get("total")
      yield {
        "mechanism": row["mechanism"],
        "distinct": made.get("distinct"),
        "total": total,
        "share": made["distinct"] / total if total else None,
        "tolerance": made.get("tolerance"),
        "ssim": alike.get("ssim"),
        "psnr": alike.get("psnr"),
      }
