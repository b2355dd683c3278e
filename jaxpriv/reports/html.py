"""report.html: one file with tables, curves and images, and no network."""

import importlib.resources
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jinja2
from etils import epath
from markupsafe import Markup

from jaxpriv import files
from jaxpriv.reports import cells, drawing, summary, tables, wording
from jaxpriv.reports import curves as curves_lib
from jaxpriv.reports import results as results_lib
from jaxpriv.reports.results import Results


def write(
  path: str | os.PathLike,
  results: Results,
  images: Mapping[str, Any] | None = None,
  curves: Mapping[str, Mapping[str, Sequence]] | None = None,
) -> epath.Path:
  """Writes the report and returns its path.

  Args:
    path: of the file to write, local or in a bucket.
    results: what was measured.
    images: `{"strips": [strip, ...]}`; a strip is a list of uint8 images, or
      `{"images": ..., "captions": ...}`.
    curves: phase -> metric -> [(step, value), ...].

  Raises:
    ResultsError: a finding is incomplete or contradicts itself.
  """
  return files.atomic_write(path, render(results, images or {}, curves or {}))


def render(
  results: Results,
  images: Mapping[str, Any],
  curves: Mapping[str, Mapping[str, Sequence]],
) -> str:
  """Returns the page as text."""
  environment = jinja2.Environment(
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
  )
  environment.filters |= {
    "count": wording.count,
    "date": wording.date,
    "name": wording.name,
  }
  here = importlib.resources.files("jaxpriv.reports")
  template = (here / "report.html.jinja").read_text()
  return environment.from_string(template).render(
    css=Markup((here / "report.css").read_text()),
    bar=drawing.bar,
    axis=drawing.axis,
    **_view(results, images, curves),
  )


def _view(results: Results, images, curves) -> dict[str, Any]:
  """Returns everything the template reads."""
  header = results.header
  data = header.get("data", {})
  privacy = header.get("privacy")
  figures = tables.views(results)
  drawn = curves_lib.curves(results)
  strips = list(_strips(images.get("strips", [])))
  phases = list(_phases(curves))
  sections = [
    ("summary", "Summary"),
    *((f"table-{i}", table.title) for i, table in enumerate(figures)),
    *([("pairs", "Known pairs")] if drawn else []),
    *([("images", "Images")] if strips else []),
    *([("privacy", "Privacy of the training data")] if privacy else []),
    ("limits", "What is not claimed"),
    *([("training", "Training")] if phases else []),
    ("run", "The run"),
  ]
  people = data.get("people", {}).items()
  return dict(
    header=header,
    mechanism=results.mechanism,
    data=data,
    people=", ".join(f"{n:,} {split}" for split, n in people if n),
    unreadable=data.get("unreadable", []),
    sections=sections,
    titles=dict(sections),
    headline=summary.headline(results),
    cards=summary.cards(results),
    comparison=tables.comparison(results),
    basis=tables.BASIS,
    verdict=tables.VERDICT,
    sample=cells.Bar(0.3, 0.45, 0.6, 0.1, 0.9, "an example"),
    figures=figures,
    pairs=drawing.pairs(drawn),
    legend=drawing.legend(drawn),
    strips=strips,
    guarantee=tables.phases(privacy) if privacy else None,
    whole=list(flatten(_without(privacy or {}, "phases"))),
    limits=summary.limits(results.products, results),
    phases=phases,
    settings=list(_settings(header)),
  )


def _without(tree: Mapping[str, Any], key: str) -> dict[str, Any]:
  """Leaves out empty entries, such as no phase without privacy."""
  return {k: v for k, v in tree.items() if k != key and v}


def _strips(strips: Sequence[Any]) -> Iterator[list[tuple[str, str]]]:
  """Yields the images of each strip as (data URL, caption).

  Raises:
    ResultsError: there are not as many captions as images.
  """
  for number, strip in enumerate(strips):
    if not isinstance(strip, Mapping):
      strip = {"images": strip}
    pictures = strip["images"]
    captions = strip.get("captions") or [
      f"Image {n + 1}" for n in range(len(pictures))
    ]
    if len(captions) != len(pictures):
      raise results_lib.ResultsError(
        f"strip {number} has {len(captions)} captions and {len(pictures)}"
        " images: give as many of both"
      )
    yield [(drawing.png(p), text) for p, text in zip(pictures, captions)]


def _phases(curves: Mapping[str, Any]) -> Iterator[tuple[str, list]]:
  for phase, metrics in curves.items():
    charts = [(m, drawing.chart(m, curve)) for m, curve in metrics.items()]
    charts = [(metric, chart) for metric, chart in charts if chart]
    if charts:
      yield phase, charts


def flatten(tree: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
  """Yields dotted names and values as text: {"a": {"b": 1}} -> ("a.b", "1")."""
  if isinstance(tree, Mapping):
    for key, value in tree.items():
      yield from flatten(value, f"{prefix}.{key}" if prefix else str(key))
  elif isinstance(tree, list):
    yield prefix, ", ".join(str(item) for item in tree)
  else:
    yield prefix, f"{tree:.6g}" if isinstance(tree, float) else str(tree)


def _settings(header: Mapping[str, Any]) -> Iterator[tuple[str, list, bool]]:
  for title, tree, is_open in (
    ("Data", _without(header.get("data", {}), "unreadable"), True),
    ("Time", header.get("timing"), True),
    ("Environment", header.get("environment"), True),
    ("Configuration", header.get("config"), False),
  ):
    if tree:
      yield title, list(flatten(tree)), is_open
