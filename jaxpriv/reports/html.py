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

from jaxpriv import files
from jaxpriv.reports import (
  drawing,
  features,
  summary,
  tables,
  tasks,
  verdicts,
  wording,
)
from jaxpriv.reports import results as results_lib

Rows = Sequence[Mapping[str, Any]]
ROLES = ("Original", "Protected", "Nearest in the gallery")
SECTIONS = {
  "summary": "Summary",
  "tasks": "Tasks",
  "privacy": "Privacy of the training data",
  "images": "Images",
  "reconstruction": "Reconstruction",
  "leakage": "Leakage",
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
      protected, nearest match], or any number of them with a caption each,
      `{"images": ..., "captions": ...}`.
    curves: phase -> metric -> [(step, value), ...].

  Raises:
    ResultsError: a row lacks a column or contradicts itself.
  """
  return files.atomic_write(path, render(results, images or {}, curves or {}))


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
    "span",
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
  released = features.released(results)
  named = functools.partial(wording.name, names=results.get("names", {}))
  view = dict(
    released=released,
    source="unprotected features" if released else "original images",
    titles=SECTIONS | ({"attributes": "Utility"} if released else {}),
    results=results,
    mechanism=mechanism,
    data=data,
    people=_people(data.get("people", {})),
    unreadable=data.get("unreadable", []),
    headline=summary.headline(results),
    level=summary.level(results),
    tasks=list(tasks.rows(results)),
    privacy=_guarantee(results.get("privacy")),
    findings=summary.findings(results),
    comparison=summary.comparison(results),
    strips=list(_strips(images.get("strips", []), () if released else ROLES)),
    rebuilt_groups=list(tables.reconstruction(results)),
    between=_between,
    between_axis=drawing.between_axis(),
    pairs=tables.curves(results),
    pairs_chart=drawing.pairs(tables.curves(results), named),
    pairs_legend=drawing.pairs_legend(tables.curves(results), named),
    leakage_groups=list(tables.leakage(results)),
    leak_bar=_leak_bar,
    known_attack=features.describe,
    groups=list(tables.identification(results)),
    predictors=tables.unique(results.get("attributes", []), "predictor"),
    attribute_groups=list(tables.attributes(results)),
    precision_groups=list(tables.precision(results)),
    output_rows=list(tables.outputs(results)),
    not_claimed=summary.not_claimed(results),
    phases=list(_phases(curves)),
    settings_tables=list(_settings(results)),
    bar=functools.partial(_bar, rows=rows),
    axis=drawing.axis(),
    legend=_legend(),
  )
  empty = {
    "images": not view["strips"],
    "identification": not view["groups"],
    "reconstruction": not (view["rebuilt_groups"] or view["pairs"]),
    "leakage": not view["leakage_groups"],
    "attributes": not view["attribute_groups"],
    "outputs": not view["output_rows"],
    "tasks": not view["tasks"],
    "privacy": not view["privacy"],
    "training": not view["phases"],
  }
  view["sections"] = [
    (key, title) for key, title in view["titles"].items() if not empty.get(key)
  ]
  return view


def _guarantee(privacy: Mapping[str, Any] | None) -> list[dict[str, Any]]:
  """What a guarantee rests on: a table for the whole, one for each phase."""
  if not privacy:
    return []
  # What is empty is not said: no phase without privacy, nothing taken over.
  whole = {k: v for k, v in privacy.items() if k != "phases" and v}
  parts = [{"title": "All phases together", "rows": list(flatten(whole))}]
  for phase in privacy["phases"]:
    rest = {k: v for k, v in phase.items() if k != "phase"}
    parts.append({"title": phase["phase"], "rows": list(flatten(rest))})
  return parts


def _people(people: Mapping[str, int]) -> str:
  """Says how many people are in each split: "800 train, 200 test"."""
  return ", ".join(f"{n:,} {split}" for split, n in people.items() if n)


def _legend() -> Markup:
  sample = drawing.bar(0.2, 0.1, 0.34, "plain", chance=0.01, witness=0.8)
  return Markup(
    '<p class="legend">{}<span>dot and band: rate and 95% interval; dashed'
    " line: chance; ring: the same recogniser on undisguised images; the scale"
    " is a square root</span></p>"
  ).format(sample)


def _bar(row: Mapping[str, Any], rows: Rows) -> Markup:
  undisguised = row["attack"] == verdicts.UNDISGUISED
  witness = None if undisguised else verdicts.reference(row, rows)
  return drawing.bar(
    row["rate"],
    row["low"],
    row["high"],
    verdicts.identification(row, rows).level,
    chance=row["chance"],
    witness=witness["rate"] if witness else None,
  )


def _between(row: Mapping[str, Any]) -> Markup:
  return drawing.between(
    row["ssim"],
    row["ssim_low"],
    row["ssim_high"],
    row["verdict"].level,
    row["floor"],
    row["ceiling"],
  )


def _leak_bar(row: Mapping[str, Any]) -> Markup:
  return drawing.bar(
    row["rate"],
    row["low"],
    row["high"],
    row["verdict"].level,
    chance=row["chance"],
    witness=row["original"],
  )


def _strips(
  strips: Sequence[Any], roles: Sequence[str]
) -> Iterator[list[dict[str, str]]]:
  """Yields the cells of each strip: as many images as have `roles`, or more.

  Captions say what became of an image; where it has no role, what it is.

  Raises:
    ResultsError: there are not as many captions as images.
  """
  for number, strip in enumerate(strips):
    if not isinstance(strip, Mapping):
      strip = {"images": strip}
    pictures = strip["images"]
    numbers = range(len(roles), len(pictures))
    names = [*roles, *(f"Image {n + 1}" for n in numbers)][: len(pictures)]
    captions = strip.get("captions") or names
    if len(captions) != len(pictures):
      raise results_lib.ResultsError(
        f"strip {number}: {len(captions)} captions of {len(pictures)} images"
      )
    yield [
      {
        "source": drawing.png(picture),
        "role": name if name in roles else caption or name,
        "caption": caption,
      }
      for picture, name, caption in zip(pictures, names, captions)
    ]


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


def _settings(
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
