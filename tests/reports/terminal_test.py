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


def test_features_beside_their_bounds():
  lines = printed(examples.feature_results()).splitlines()
  assert max(map(len, lines)) <= 80
  cells = [" ".join(line.split()) for line in lines]
  assert "✕ A1 known 1,024 0.71 0.70–0.72 0.71 31.2% 87.1% 0.5% 82.2%" in cells
  assert "✕ A1 known 256 0.31 0.30–0.32 0.31 – – – –" in cells
  assert "mean image – 0.20 0.19–0.21 0.20 – – – 50.0%" in cells
  caption = "Attributes: balanced accuracy, hidden ones; guessing 50%,"
  assert f"{caption} undisguised 93.1%" in cells
  assert "Keyed 0.40 – 16,384 0.19 0.85 0.20 ✓ not reached" in cells
  assert "Deep poisoning 0.40 1,024 16,384 0.80 0.85 0.20 ✕ reached" in cells
  leak = "A7 linear probe Identity 12.1% 10.2 – 14.3% 71.0% 0.5% ✕ leaks"
  assert leak in cells
  precise = "A7 MLP probe 6 hidden 86.1% 84.0 – 88.2% 93.4% 48.2%"
  assert precise in cells
  assert cells[-2].startswith("Photographs can be rebuilt")


def test_the_longest_row_fits_eighty_columns():
  results = examples.feature_results()
  results["reconstruction"] += [
    examples.rebuilt(
      *("A1 inverter", -0.2, 16384, 1000), attributes=examples.read(1)
    )
  ]
  lines = printed(results).splitlines()
  assert max(map(len, lines)) <= 80
  cells = [" ".join(line.split()) for line in lines]
  row = "16,384 −0.20 −0.21–−0.19 −0.20 100.0% 87.1% 0.5% 100.0%"
  assert any(line.endswith(row) for line in cells), cells


def test_features_of_other_mechanisms_on_demand():
  results = examples.feature_results()
  assert "40.2%" not in printed(results)
  assert "40.2%" in printed(results, everything=True)


def test_attacks_on_features_are_not_markup():
  results = examples.feature_results()
  results["reconstruction"][3]["attack"] = "[bold]x[/bold]"
  results["leakage"][0]["attack"] = "[bold]y[/bold]"
  text = printed(results, width=200)
  assert "[bold]x[/bold]" in text and "[bold]y[/bold]" in text


def test_nothing_measured():
  assert "not measured" in printed({})
