"""The terminal shows the same figures as the page."""

import io

import pytest
from rich.console import Console

from jaxpriv.reports import summary, tables, terminal
from tests.reports import examples


def printed(results, width=200):
  stream = io.StringIO()
  terminal.print_tables(results, Console(file=stream, width=width))
  return stream.getvalue()


def lines(results, width=200):
  return [
    " ".join(line.split()) for line in printed(results, width).splitlines()
  ]


@pytest.mark.parametrize("name", list(examples.ALL))
def test_the_headline_comes_first(name):
  results = examples.ALL[name]()
  text = " ".join(printed(results).split())
  assert text.startswith(summary.headline(results).text + ".")


@pytest.mark.parametrize("name", list(examples.ALL))
@pytest.mark.parametrize("width", [80, 100, 120])
def test_fits_and_loses_nothing(name, width):
  results = examples.ALL[name]()
  narrow = printed(results, width)
  assert max(map(len, narrow.splitlines())) <= width
  assert "…" not in narrow
  squeezed = "".join(narrow.split())
  for word in {cell for line in lines(results) for cell in line.split()}:
    if "%" in word or word in ("hidden", "unclear", "kept", "works"):
      assert word in squeezed


@pytest.mark.parametrize("name", list(examples.ALL))
@pytest.mark.parametrize("width", [1, 20, 40])
def test_no_figure_is_lost_where_nothing_fits(name, width):
  results = examples.ALL[name]()
  squeezed = "".join(printed(results, width).split())
  for word in {cell for line in lines(results) for cell in line.split()}:
    if word.endswith("%") and word[0].isdigit():
      assert word in squeezed


@pytest.mark.parametrize("name", list(examples.ALL))
@pytest.mark.parametrize("width", [80, 90, 100, 120])
def test_captions_and_headings_are_not_cut_off(name, width):
  results = examples.ALL[name]()
  text = " ".join(printed(results, width).split())
  squeezed = text.replace(" ", "")
  for table in tables.views(results, [results.mechanism]):
    assert " ".join(table.caption.split()) in text
    for column in table.columns:
      if not column.detail and column.number and " " not in column.title:
        assert column.title in squeezed


def test_attacks_beside_what_they_are_measured_by():
  shown = lines(examples.images())
  naive = "naive independent VGG other photograph 0.6% 0.3 – 1.3% 0.5% 87.1%"
  assert f"{naive} ✓ hidden" in shown
  own = (
    "naive, used in loss IResNet other photograph 0.5% 0.2 – 1.2% 0.5% 94.2%"
  )
  assert f"{own} ✓ hidden" in shown
  bound = "undisguised independent VGG other photograph 87.1% 84.9 – 89.0% 0.5%"
  assert f"{bound} – –" in shown
  assert any(line.startswith("Without protection above") for line in shown)


def test_features_beside_their_bounds():
  shown = lines(examples.features())
  row = "A1 least squares 1,024 0.71 0.70 – 0.72 0.20 0.85 ✕ not hidden 0.71"
  assert row in shown
  assert "mean image – 0.20 0.19 – 0.21 0.20 – – 0.20" in shown
  assert "A7 linear probe – 12.1% 10.2 – 14.3% 0.5% 71.0% ✕ not hidden" in shown
  assert "Male 65.0% 65.5% ✓ hidden –" in shown


def test_controls_stand_in_the_comparison_only():
  text = printed(examples.images())
  assert "46.7 – 52.9%" not in text  # the interval of an attack on blur
  assert "Blur 50.1% ✕ not hidden 0 of 2 kept ? unclear" in lines(
    examples.images()
  )


def test_what_others_measure():
  shown = lines(examples.stranger())
  row = "lip reader 3.25 bits 3.00 – 3.50 bits 0.75 bits 6.50 bits ✕ not hidden"
  assert row in shown
  assert any(
    line.startswith("U-Net inpainting mask guessed –") for line in shown
  )


def test_names_are_not_markup():
  rows = [
    f._replace(by=f"[bold]{f.by}[/bold]", where={"a": "[red]x[/red]"})
    for f in examples.image_findings()
  ]
  text = printed(examples.images(rows))
  assert "[bold]naive[/bold]" in text and "[red]x[/red]" in text


def test_what_is_proven_is_said():
  results = examples.images(proven=["Nobody does better"])
  assert "Proven: Nobody does better." in printed(results)


def test_nothing_measured():
  assert "not measured" in printed(examples.images([]))


def test_weaker_attacks_are_counted():
  rows = [examples.attack(f"attack {n}", n) for n in range(20)]
  shown = lines(examples.images(rows))
  assert "12 more, which weigh less, are in the report." in shown
  assert any("attack 19 " in line for line in shown)
  assert not any("attack 3 " in line for line in shown)


def test_further_measures_make_room_for_whole_words():
  near = [
    f._replace(where={"recogniser": f"recogniser{n}", "gallery": f"others{n}"})
    for n in (1, 2)
    for f in examples.rebuilt("unmistakably long name", 0.7)
  ]
  heads = [
    printed(examples.features(near), width).partition("──")[0]
    for width in (200, 60)
  ]
  assert ["Aligned" in head for head in heads] == [True, False]
