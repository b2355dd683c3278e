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
from jaxpriv.reports.results import Results

Strips = Sequence[Mapping[str, Any]]
Curves = Mapping[str, Mapping[str, Sequence]]


def write(
  path: str | os.PathLike,
  results: Results,
  strips: Strips = (),
  curves: Curves | None = None,
) -> epath.Path:
  """Writes the report and returns its path.

  Args:
    path: of the file to write, local or in a bucket.
    results: what was measured, as it was written or read.
    strips: each has uint8 "images", and as many "captions".
    curves: phase -> metric -> [(step, value), ...].
  """
  return files.atomic_write(path, render(results, strips, curves or {}))


def render(results: Results, strips: Strips, curves: Curves) -> str:
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
    **_view(results, strips, curves),
  )


def _view(results: Results, strips: Strips, curves: Curves) -> dict[str, Any]:
  """Returns everything the template reads."""
  header = results.header
  data = header.get("data", {})
  privacy = header.get("privacy") or {}
  figures = tables.views(results)
  drawn = curves_lib.curves(results)
  pictures = [
    [
      (drawing.png(image), caption)
      for image, caption in zip(strip["images"], strip["captions"], strict=True)
    ]
    for strip in strips
  ]
  phases = list(_phases(curves))
  sections = [
    ("summary", "Summary", True),
    *((f"table-{i}", table.title, True) for i, table in enumerate(figures)),
    ("pairs", "Known pairs", drawn),
    ("images", "Images", pictures),
    ("privacy", "Privacy of the training data", privacy),
    ("proven", "What is proven", header.get("proven")),
    ("limits", "What is not claimed", True),
    ("training", "Training", phases),
    ("run", "The run", True),
  ]
  shown = {key: title for key, title, there in sections if there}
  people = data.get("people", {}).items()
  return dict(
    header=header,
    mechanism=results.mechanism,
    data=data,
    people=", ".join(f"{n:,} {split}" for split, n in people if n),
    sections=shown.items(),
    titles=shown,
    headline=summary.headline(results),
    cards=summary.cards(results),
    comparison=tables.comparison(results),
    basis=tables.BASIS,
    verdict=tables.VERDICT,
    sample=cells.Bar(0.3, 0.45, 0.6, 0.1, 0.9, "an example"),
    figures=[table.folded() for table in figures],
    pairs=drawing.pairs(drawn),
    legend=drawing.legend(drawn),
    strips=pictures,
    guarantee=tables.phases(privacy) if privacy else None,
    promised=list(flatten(_without(privacy, "phases"))),
    proven=header.get("proven"),
    limits=summary.limits(results.products, results),
    phases=phases,
    settings=[
      (title, list(flatten(tree)), title != "Configuration")
      for title, tree in (
        ("Data", _without(data, "unreadable")),
        ("Time", header.get("timing")),
        ("Environment", header.get("environment")),
        ("Configuration", header.get("config")),
      )
      if tree
    ],
  )


def _without(tree: Mapping[str, Any], *keys: str) -> dict[str, Any]:
  """Leaves out empty entries, such as no phase without privacy."""
  return {k: v for k, v in tree.items() if k not in keys and v}


def _phases(curves: Curves) -> Iterator[tuple[str, list]]:
  for phase, metrics in curves.items():
    charts = [(m, drawing.chart(m, curve)) for m, curve in metrics.items()]
    if charts := [(metric, chart) for metric, chart in charts if chart]:
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
