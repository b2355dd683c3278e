"""The terminal shows the same figures as the page."""

import io

import pytest
from rich.console import Console

from jaxpriv.reports import summary, terminal
from tests.reports import examples


def printed(results, width=80, **options):
  stream = io.StringIO()
  console = Console(file=stream, width=width)
  terminal.print_tables(results, console, **options)
  return stream.getvalue()


def test_attacks_on_the_mechanism_beside_their_references():
  text = printed(examples.results())
  lines = [line.split() for line in text.splitlines()]
  naive = [line for line in lines if line[:1] == ["naive"]]
  assert [line[1] for line in naive] == ["0.6%", "0.5%"]
  assert ["87.1%" in naive[0], "94.2%" in naive[1]] == [True, True]
  assert all(line[-1] == "protects" for line in naive)
  assert "Identity is hidden from every attack" in text


def test_others_by_their_strongest_attack_or_all():
  assert "49.8%" in printed(examples.results())
  assert "46.7 – 52.9%" not in printed(examples.results())
  assert "46.7 – 52.9%" in printed(
    examples.results(), everything=True, width=110
  )


def test_attributes_with_change_and_majority():
  text = printed(examples.results())
  assert "89.3% −0.7 kept" in text
  assert "60.0%" in text


def test_mechanisms_are_compared_by_what_has_read_them_all():
  results = examples.results()
  rows = [examples.attribute(500), examples.attribute(800, predictor="FSN")]
  other = examples.attribute(700, predictor="FSN", mechanism="pixelation")
  results["attributes"] = [*rows, other]
  compared = summary.comparison(results)
  assert all(r["predictors"] == ["FSN"] for r in compared if r["predictors"])
  found = {r["mechanism"]: r["change"] for r in compared}
  assert found[examples.MECHANISM] == pytest.approx(-0.1)
  assert found["pixelation"] == pytest.approx(-0.2)


def test_fits_eighty_columns():
  text = printed(examples.results(), width=80)
  assert max(map(len, text.splitlines())) <= 80
  assert "does not protect" in text


def test_names_are_not_markup():
  results = examples.results()
  results["identification"][0]["recogniser"] = "[bold]x[/bold]"
  assert "[bold]x[/bold]" in printed(results)


def test_nothing_measured():
  assert "not measured" in printed({})
