"""report.html: one file with tables, curves and images, and no network.

`write(path, results, images, curves)`; `results` as in
`jaxpriv.reports.results`, any part of which may be missing.
"""

import functools
import importlib.resources
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jinja2
from etils import epath
from markupsafe import Markup

from jaxpriv.reports import drawing, files, summary, verdicts, wording
from jaxpriv.reports import results as results_lib

Rows = Sequence[Mapping[str, Any]]
ROLES = ("Original", "Protected", "Nearest in the gallery")
SECTIONS = {
  "summary": "Summary",
  "images": "Images",
  "identification": "Identification",
  "attributes": "Attributes",
  "outputs": "Outputs",
  "limits": "What is not claimed",
  "training": "Training",
  "run": "The run",
}


def write(
  path: str | os.PathLike,
  results: Mapping[str, Any],
  images: Mapping[str, Any] | None = None,
  curves: Mapping[str, Mapping[str, Sequence]] | None = None,
) -> epath.Path:
  """Writes the report and returns its path.

  Args:
    path: of the file to write, local or in a bucket.
    results: see `jaxpriv.reports.results`.
    images: `{"strips": [strip, ...]}`; a strip is uint8 images [original,
      protected, nearest match], or `{"images": ..., "captions": ...}`.
    curves: phase -> metric -> [(step, value), ...].

  Raises:
    ResultsError: a row lacks a column or contradicts itself.
  """
  return files.write_text(path, render(results, images or {}, curves or {}))


def render(
  results: Mapping[str, Any],
  images: Mapping[str, Any],
  curves: Mapping[str, Mapping[str, Sequence]],
) -> str:
  """Returns the page as text."""
  results = results_lib.plain(results)
  results_lib.check(results)
  here = importlib.resources.files("jaxpriv.reports")
  view = _view(results, images, curves)
  view["css"] = Markup((here / "report.css").read_text())
  text = (here / "report.html.jinja").read_text()
  environment = _environment(results.get("names", {}))
  return environment.from_string(text).render(view)


def _environment(names: Mapping[str, str]) -> jinja2.Environment:
  environment = jinja2.Environment(
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
  )
  for name in (
    "count",
    "date",
    "fixed",
    "interval",
    "of",
    "percent",
    "points",
    "real",
    "times",
  ):
    environment.filters[name] = getattr(wording, name)
  environment.filters["name"] = functools.partial(wording.name, names=names)
  return environment


def _view(results, images, curves) -> dict[str, Any]:
  """Returns everything the template reads."""
  mechanism = results.get("mechanism", "")
  rows = results.get("identification", [])
  data = results.get("data", {})
  view = dict(
    results=results,
    mechanism=mechanism,
    data=data,
    people=_people(data.get("people", {})),
    unreadable=data.get("unreadable", []),
    headline=summary.headline(results),
    verdict=verdicts.overall(rows, mechanism),
    findings=summary.findings(results),
    comparison=_comparison(results),
    strips=list(_strips(images.get("strips", []))),
    groups=list(_identification(rows, mechanism)),
    predictors=_unique(results.get("attributes", []), "predictor"),
    attribute_groups=list(_attributes(results)),
    output_rows=list(_outputs(results)),
    not_claimed=summary.not_claimed(results),
    phases=list(_phases(curves)),
    tables=list(_tables(results)),
    axis=drawing.axis(),
    legend=_legend(),
  )
  empty = {
    "images": not view["strips"],
    "identification": not view["groups"],
    "attributes": not view["attribute_groups"],
    "outputs": not view["output_rows"],
    "training": not view["phases"],
  }
  view["sections"] = [
    (key, title) for key, title in SECTIONS.items() if not empty.get(key)
  ]
  return view


def _people(people: Mapping[str, int]) -> list[tuple[str, int]]:
  verbs = {"train": "train on", "attack": "train attacks on", "test": "test on"}
  return [(verbs.get(k, k), n) for k, n in people.items() if n is not None]


def _unique(rows: Rows, key: str) -> list[str]:
  return list(dict.fromkeys(row[key] for row in rows))


def _legend() -> Markup:
  sample = drawing.bar(0.2, 0.1, 0.34, "plain", chance=0.01, witness=0.8)
  return Markup(
    '<p class="legend">{}<span>dot and band: rate and 95% interval; dashed'
    " line: chance; ring: the same recogniser on undisguised images; the scale"
    " is a square root</span></p>"
  ).format(sample)


def _bar(row: Mapping[str, Any], rows: Rows, level: str) -> Markup:
  undisguised = row["attack"] == verdicts.UNDISGUISED
  witness = None if undisguised else verdicts.reference(row, rows)
  beside = witness["rate"] if witness else None
  return drawing.bar(
    row["rate"],
    row["low"],
    row["high"],
    level,
    chance=row["chance"],
    witness=beside,
  )


def _comparison(results: Mapping[str, Any]) -> list[dict[str, Any]]:
  rows = results.get("identification", [])
  table = summary.comparison(results)
  for line in table:
    if line["attack"]:
      line["bar"] = _bar(line["attack"], rows, line["verdict"].level)
  return table


def _strips(strips: Sequence[Any]) -> Iterator[list[dict[str, str]]]:
  for strip in strips:
    pictures, captions = strip, ROLES
    if isinstance(strip, Mapping):
      pictures, captions = strip["images"], strip.get("captions", ROLES)
    yield [
      {"source": drawing.png(picture), "role": role, "caption": caption}
      for picture, role, caption in zip(pictures, ROLES, captions)
    ]


def _identification(rows: Rows, mechanism: str) -> Iterator[dict[str, Any]]:
  """Yields one group per recogniser and gallery, undisguised rows first."""
  keys = dict.fromkeys((r["recogniser"], r["gallery"]) for r in rows)
  for recogniser, gallery in keys:
    mine = [
      row
      for row in rows
      if (row["recogniser"], row["gallery"]) == (recogniser, gallery)
    ]
    undisguised = [r for r in mine if r["attack"] == verdicts.UNDISGUISED]
    blocks = [undisguised] if undisguised else []
    names = _unique(mine, "mechanism")
    for name in sorted(names, key=lambda name: name != mechanism):
      blocks.append(verdicts.attacks(mine, name))
    yield {
      "recogniser": recogniser,
      "gallery": gallery,
      "used_in_loss": any(row.get("used_in_loss") for row in mine),
      "blocks": [
        [_identification_row(row, rows, mechanism) for row in block]
        for block in blocks
        if block
      ],
    }


def _identification_row(row, rows: Rows, mechanism: str) -> dict[str, Any]:
  verdict = verdicts.identification(row, rows)
  witness = verdicts.reference(row, rows)
  undisguised = row["attack"] == verdicts.UNDISGUISED
  same = witness is not None and all(
    witness[key] == row[key] for key in ("gallery", "recogniser")
  )
  mine = row["mechanism"] == mechanism
  borrowed = "" if same or witness is None else _place(witness, row)
  return dict(
    row,
    undisguised=undisguised,
    kind="reference" if undisguised else "mine" if mine else "",
    verdict=verdict,
    witness=witness,
    borrowed=borrowed,
    bar=_bar(row, rows, verdict.level),
  )


def _place(witness: Mapping[str, Any], row: Mapping[str, Any]) -> str:
  """Names where a reference was taken, if not where the figure was."""
  keys = ("recogniser", "gallery")
  return ", ".join(str(witness[k]) for k in keys if witness[k] != row[k])


def _attributes(results: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
  rows = results.get("attributes", [])
  predictors = _unique(rows, "predictor")
  for mechanism in verdicts.mechanisms(results):
    mine = [row for row in rows if row["mechanism"] == mechanism]
    cells = {
      (row["attribute"], row["predictor"]): dict(
        row, verdict=verdicts.attribute(row)
      )
      for row in mine
    }
    if mine:
      yield {
        "mechanism": mechanism,
        "rows": [
          {
            "attribute": attribute,
            "majority": next(
              r["majority"] for r in mine if r["attribute"] == attribute
            ),
            "cells": [cells.get((attribute, p)) for p in predictors],
          }
          for attribute in _unique(mine, "attribute")
        ],
      }


def _outputs(results: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
  for row in summary.comparison(results):
    outputs, similarity = row["outputs"] or {}, row["similarity"] or {}
    if outputs or similarity:
      total = outputs.get("total")
      yield {
        "mechanism": row["mechanism"],
        "distinct": outputs.get("distinct"),
        "total": total,
        "share": outputs["distinct"] / total if total else None,
        "tolerance": outputs.get("tolerance", wording.NOTHING),
        "ssim": similarity.get("ssim"),
        "psnr": similarity.get("psnr"),
      }


def _phases(curves: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
  for phase, metrics in curves.items():
    drawn = [(m, drawing.chart(m, curve)) for m, curve in metrics.items()]
    drawn = [(metric, chart) for metric, chart in drawn if chart]
    if drawn:
      yield {"name": phase, "charts": drawn}


def flatten(tree: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
  """Yields dotted names and values as text: {"a": {"b": 1}} -> ("a.b", "1")."""
  if isinstance(tree, Mapping):
    for key, value in tree.items():
      yield from flatten(value, f"{prefix}.{key}" if prefix else str(key))
  elif isinstance(tree, list):
    yield prefix, ", ".join(str(item) for item in tree)
  else:
    yield prefix, f"{tree:.6g}" if isinstance(tree, float) else str(tree)


def _tables(
  results: Mapping[str, Any],
) -> Iterator[tuple[str, list[tuple[str, str]], bool]]:
  data = results.get("data", {})
  kept = {key: value for key, value in data.items() if key != "unreadable"}
  for title, tree, is_open in (
    ("Data", kept, True),
    ("Time", results.get("timing"), True),
    ("Environment", results.get("environment"), True),
    ("Configuration", results.get("config"), False),
  ):
    if tree:
      yield title, list(flatten(tree)), is_open
