"""A table shows what varies, and says the rest in its caption."""

import pytest

from jaxpriv.metrics.finding import HIDDEN, KEPT, TOLD, Metric
from jaxpriv.reports import cells, tables
from jaxpriv.reports import curves as curves_lib
from tests.reports import examples
from tests.reports.examples import attack, attribute, finding, rebuilt


def titles(table):
  return [column.title for column in table.columns]


def texts(table):
  return [[cell.text or cell.mark for cell in row.cells] for row in table.rows]


def verdicts(table):
  at = titles(table).index(tables.VERDICT)
  return [row.cells[at] for row in table.rows]


def view(results, title, **options):
  (table,) = [t for t in tables.views(results, **options) if t.title == title]
  return table


def test_what_varies_is_a_column_and_the_rest_is_said():
  rows = [attack("naive", 6), attack("reverse", 3)]
  table = tables.table(rows, examples.images(), "Identity")
  assert titles(table) == [
    *("Attack", "Trials", "Rank-1", "", "95% interval", "Floor", "Ceiling"),
    "Verdict",
  ]
  assert table.caption == (
    "Rank-1: how often the right person comes first in the gallery."
    " Recogniser: independent VGG. Gallery: other photograph. Trials: 1,000."
  )
  assert [row.group for row in table.rows] == ["", ""]
  rows.append(attack("naive", 9, gallery="same photograph", subject="blur"))
  table = tables.table(rows, examples.images())
  assert titles(table)[:2] == ["Attack", "Gallery"]
  assert [row.group for row in table.rows] == [
    *["Embedded autoencoder"] * 2,
    "Blur",
  ]
  assert texts(table)[0] == [
    *("naive", "other photograph", "6 / 1,000", "0.6%", ""),
    *("0.3 – 1.3%", "0.5%", "87.1%", "hidden"),
  ]


def test_rows_of_a_control_stay_together():
  rows = [
    attack(by, hits, subject=subject)
    for subject, by, hits in (
      ("blur", "naive", 900), ("blur", "reverse", 300),
      ("black_box", "naive", 500), ("black_box", "reverse", 950),
    )
  ]  # fmt: skip
  table = tables.table(rows, examples.images())
  assert [row.group for row in table.rows] == [
    *["Black box"] * 2,
    *["Blur"] * 2,
  ]
  assert [row.cells[0].text for row in table.rows] == [
    *("reverse", "naive", "naive", "reverse")
  ]


def test_no_protection_comes_first_then_the_mechanism_and_the_worst():
  results = examples.features()
  table = view(results, "Appearance")
  groups = list(dict.fromkeys(row.group for row in table.rows))
  assert groups == [*("Without protection", "Deep poisoning", "Noise", "Keyed")]
  mine = [row for row in table.rows if row.kind == "mine"]
  assert [v.mark for v in verdicts(table._replace(rows=mine))] == [
    *["not hidden"] * 3,
    *["unclear"] * 2,
    *["hidden"] * 2,
  ]
  assert [row.cells[2].text for row in mine][:3] == ["0.71", "0.42", "0.31"]
  bounds = [row for row in table.rows if row.kind == "reference"]
  assert len(bounds) == 3
  assert not any(v.mark for v in verdicts(table._replace(rows=bounds)))


def test_metrics_of_one_attack_share_its_row():
  results = examples.features()
  table = view(results, "Appearance")
  assert titles(table) == [
    *("Attack", "Pairs", "SSIM", "", "95% interval", "Floor", "Ceiling"),
    *("Verdict", "Aligned SSIM", "|SSIM|", "L1", "PSNR"),
  ]
  details = {c.title for c in table.columns if c.detail}
  assert details == {"", "|SSIM|", "L1", "PSNR"}  # what is judged is not one
  (row,) = [r for r in table.rows if r.cells[2].text == "0.71"]
  assert row.cells[0].sub.endswith("And 1024 pairs.")
  assert row.cells[1].text == "1,024"
  assert row.cells[-1].text == "14.6 dB"
  assert "Trials: 1,000." in table.caption


def test_the_worst_of_the_metrics_of_a_row_decides():
  near = rebuilt("A0", 0.1)
  best = examples.ceiling(0.95)
  near[1] = near[1]._replace(
    value=0.8, low=0.79, high=0.81, floor=0.3, ceiling=best
  )
  table = tables.table(near, examples.features())
  (row,), (verdict,) = table.rows, verdicts(table)
  assert verdict.mark == "not hidden"
  assert verdict.sub.startswith("aligned SSIM: the whole interval")
  # The reason stands beside the floor and ceiling of its own metric.
  (at,) = [i for i, t in enumerate(titles(table)) if t == "Aligned SSIM"]
  assert row.cells[at].sub == "0.79 – 0.81; floor 0.30; ceiling 0.95"
  ends = [titles(table).index(title) for title in ("Floor", "Ceiling")]
  assert [row.cells[i].text for i in ends] == ["0.20", "0.85"]


def test_trials_are_told_whether_or_not_they_are_hits():
  scores = [
    finding(claim, KEPT, "model", "AP", 0.5, total=total)
    for claim, total in (("detection", 70), ("landmarks", 1300))
  ]
  (table,) = tables.views(examples.model(scores))
  (column,) = [c for c in table.columns if c.title == "Trials"]
  assert [row[table.columns.index(column)] for row in texts(table)] == [
    *("70", "1,300")
  ]
  assert not column.detail and "Trials" not in table.caption
  rates = [attack("naive", 6), attack("reverse", 3)]
  table = tables.table(rates, examples.images())
  (column,) = [c for c in table.columns if c.title == "Trials"]
  assert column.detail and table.caption.endswith("Trials: 1,000.")
  other = finding("identity", HIDDEN, "eyes", "rank-1", 0.5, total=30)
  table = tables.table([*rates, other], examples.images())
  (column,) = [c for c in table.columns if c.title == "Trials"]
  assert not column.detail
  trials = [row[table.columns.index(column)] for row in texts(table)]
  assert sorted(trials) == ["3 / 1,000", "30", "6 / 1,000"]


def test_the_same_figure_twice_is_two_rows():
  twice = [attack("naive", 6), attack("naive", 7)]
  assert len(tables.table(twice, examples.images()).rows) == 2
  twice = [finding("hue", TOLD, "y", "SSIM", v) for v in (0.3, 0.4)]
  (table,) = tables.views(examples.images(twice))
  assert [row[1] for row in texts(table)] == ["0.30", "0.40"]


def test_flags_long_texts_and_rare_columns_stand_with_the_attack():
  results = examples.images()
  table = view(results, "Identity")
  names = [row.cells[0].text for row in table.rows]
  assert "naive, used in loss" in names and "Used in loss" not in titles(table)
  (parrot,) = [r for r in table.rows if r.cells[0].text == "parrot"]
  assert parrot.cells[0].sub == "Reference: independent VGG."
  table = view(examples.features(), "Identity")
  names = [row.cells[0].text for row in table.rows]
  assert "A1 least squares, 1,024 pairs" in names


def test_attributes_are_rows_and_readers_columns():
  table = view(examples.images(), "Attributes")
  assert titles(table) == ["Attribute", "Floor", "fresh VGG", "FSN"]
  assert table.columns[3].sub == "used in loss"
  first = table.rows[0].cells
  assert [cell.text for cell in first] == [
    "Big Nose",
    "60.0%",
    "89.3%",
    "90.5%",
  ]
  assert first[2].mark == "−0.7 kept" and first[2].level == "good"
  assert first[2].sub == "87.2 – 91.1%; ceiling 90.0%"
  assert table.rows[1].cells[3].text == "–"
  table = view(examples.features(), "Attributes")
  male = table.rows[0].cells
  assert male[2].mark == "hidden" and male[3].text == "–"


def test_floors_that_readers_do_not_share_stand_with_their_figures():
  rows = [
    attribute("A", 700), attribute("A", 800, "FSN", floor=0.5),
    attribute("B", 900), attribute("B", 900, "FSN"),
  ]  # fmt: skip
  table = view(examples.images(rows), "Attributes")
  first, second = (row.cells for row in table.rows)
  assert (first[1].text, second[1].text) == ("–", "60.0%")
  assert first[2].sub == "67.1 – 72.8%; floor 60.0%; ceiling 90.0%"
  assert first[3].sub == "77.4 – 82.4%; floor 50.0%; ceiling 90.0%"
  assert "floor" not in second[2].sub + second[3].sub


def test_claims_of_one_figure_share_a_table():
  (table,) = tables.views(examples.model())
  assert table.title == "What it is good for"
  assert [row[:3] for row in texts(table)] == [
    ["Detection", "AP", "90.0%"],
    ["Landmarks", "error / box side", "5.0%"],
    ["Gender", "accuracy", "75.0%"],
    ["Pose", "mean error", "5.0°"],
    ["Pose", "within 15°", "93.0%"],
  ]
  assert [row[-1] for row in texts(table)] == [
    *("–", "works", "works", "fails", "works")
  ]
  assert "Read by: model. Trials: 100." in table.caption


def test_what_is_told_is_a_row_for_each_mechanism():
  table = view(examples.images(), "For information")
  heads = [(c.title, c.sub) for c in table.columns[1:]]
  assert heads == [
    *(("Outputs", "distinct"), ("Likeness", "SSIM"), ("Likeness", "PSNR"))
  ]
  assert texts(table)[0] == ["Embedded autoencoder", "73.3%", "0.22", "11.5 dB"]
  assert table.rows[0].cells[1].sub == "733 / 1,000"
  black = examples.checked(examples.images())
  assert texts(view(black, "For information"))[2][-1] == "–"


def test_tables_of_one_mechanism_alone():
  tables_of_it = tables.views(examples.images(), [examples.MECHANISM])
  names = {row.group for table in tables_of_it for row in table.rows}
  assert names <= {"", "Without protection", "Embedded autoencoder"}


def test_all_mechanisms_by_all_claims():
  table = tables.comparison(examples.features())
  assert titles(table) == [
    *("Mechanism", "Appearance", "Identity", "Attributes together, to hide"),
    *("Attributes, to hide", "Linkage", "Attributes together, to keep"),
    "Attributes, to keep",
  ]
  mine, noise, keyed = table.rows
  assert mine.kind == "mine" and mine.cells[0].text == "Deep poisoning"
  assert mine.cells[1].text == "SSIM 0.71" and mine.cells[1].level == "bad"
  assert mine.cells[1].sub == "A1 least squares, 1,024 pairs"
  assert mine.cells[4].text == "1 of 2 hidden"
  assert mine.cells[-1].text == "2 of 2 kept"
  assert noise.cells[2].text == "40.2%" and noise.cells[5].text == "–"
  assert keyed.cells[1].level == keyed.cells[2].level == "good"
  assert tables.comparison(examples.model()) is None


def test_what_others_measure_is_shown():
  results = examples.stranger()
  shown = {table.title: table for table in tables.views(results)}
  assert list(shown) == [
    *("Appearance", "Voice of the lips", "Verification", "For information")
  ]
  voice = shown["Voice of the lips"]
  assert voice.caption.startswith("Entropy: how much of a voice is left")
  assert texts(voice)[0] == [
    *("lip reader", "3.25 bits", "", "3.00 – 3.50 bits", "0.75 bits"),
    *("6.50 bits", "not hidden"),
  ]
  assert titles(shown["Appearance"])[:3] == [
    "Attack",
    "Situation",
    "Components",
  ]
  assert texts(shown["Appearance"])[0][2] == "–"
  assert "Folds: 10." in shown["Verification"].caption
  assert texts(shown["For information"])[0][1] == "0.0002"


def test_bar_is_in_order():
  bar = cells.bar(
    examples.attack("naive", 200, floor=0.01), Metric("share", slack=None)
  )
  assert bar.floor < bar.low < bar.value < bar.high < bar.ceiling
  assert bar.value == pytest.approx(0.2**0.5)
  assert "rank-1 20.0%, interval 17.6 – 22.6%, floor 1.0%" in bar.label
  assert bar.label.endswith("ceiling 87.1%")


def ssim(value, **changes):
  fields = {"floor": 0.2, "ceiling": examples.ceiling(0.85), **changes}
  return finding("appearance", HIDDEN, "A1", "SSIM", value, **fields)


def test_bar_between_floor_and_ceiling():
  bar = cells.bar(ssim(0.5, spread=0.1), Metric())
  assert bar.floor == pytest.approx(1 / 6)
  assert bar.ceiling == pytest.approx(5 / 6)
  assert bar.floor < bar.low < bar.value < bar.high < bar.ceiling
  share = (bar.value - bar.floor) / (bar.ceiling - bar.floor)
  assert share == pytest.approx(0.3 / 0.65)


def test_bar_of_errors_still_runs_from_floor_to_ceiling():
  bar = cells.bar(ssim(0.5, floor=0.9, ceiling=examples.ceiling(0.1)), Metric())
  assert bar.floor < bar.low < bar.value < bar.high < bar.ceiling


@pytest.mark.parametrize("value", [-1.0, 0.0, 0.2, 0.85, 1.0])
def test_bar_stays_inside(value):
  bar = cells.bar(ssim(value, spread=0.1), Metric())
  assert all(0 <= place <= 1 for place in bar[:5])


@pytest.mark.parametrize(
  "ends",
  [
    {"ceiling": None},
    {"floor": None},
    {"floor": 0.5, "ceiling": examples.ceiling(0.5)},
  ],
)
def test_no_bar_without_a_scale(ends):
  assert cells.bar(ssim(0.5, **ends), Metric()) is None


def test_axes_fit_their_bars():
  results = examples.features()
  (axis,) = [c.axis for c in view(results, "Appearance").columns if c.axis]
  assert [text for _, text in axis] == ["floor", "ceiling"]
  (axis,) = [c.axis for c in view(results, "Identity").columns if c.axis]
  assert [text for _, text in axis] == ["0", "2", "10", "25", "50", "100"]
  mixed = [ssim(0.5), finding("x", KEPT, "A1", "mAP", 0.5, floor=0.1)]
  table = tables.table(mixed, examples.features())
  assert not any(column.axis for column in table.columns)


def test_curves_take_the_nearest_of_each_number_of_pairs():
  mine, keyed = curves_lib.curves(examples.features())
  assert [(n, f.value) for n, f in mine.points.items()] == [
    *((16, 0.19), (64, 0.22), (256, 0.31), (1024, 0.71))
  ]
  assert mine.threshold == 0.4
  assert 256 < mine.needed < 1024 and keyed.needed is None
  assert keyed.subject == "keyed"
  plain = examples.without(examples.features(), "config")
  assert curves_lib.curves(plain)[0].threshold is None
  assert curves_lib.curves(examples.images()) == []


def test_phases_of_a_guarantee():
  table = tables.phases(examples.PRIVACY)
  assert dict(zip(titles(table), texts(table)[0])) == {
    "Phase": "multi_task",
    "Sampling probability": "0.06400",
    "Noise multiplier": "2.346",
    "Steps": "600",
    "Clip norm": "1.000",
    "Group clip norms": "log_variances 0.3000",
    "Rows per unit": "4",
  }


@pytest.mark.parametrize("wanted", [HIDDEN, KEPT, TOLD])
def test_a_finding_with_nothing_beside_it(wanted):
  bare = finding("x", wanted, "y", "SSIM", 0.3, spread=0.0)
  (table,) = tables.views(examples.images([bare]))
  assert any("0.30" in row for row in texts(table))
  assert {"Floor", "Ceiling", "95% interval"}.isdisjoint(titles(table))


def test_attributes_told_or_without_ceiling():
  rows = [attribute("A", 900, ceiling=None, floor=None, wanted=TOLD)]
  (table,) = tables.views(examples.images(rows))
  assert titles(table) == ["Attribute", "fresh VGG"]
  assert table.rows[0].cells[1].mark == ""


def test_the_same_attribute_read_twice_loses_nothing():
  rows = [attribute("A", 900), attribute("A", 800)]
  (table,) = tables.views(examples.images(rows))
  assert [cell.text for cell in table.rows[0].cells[2:]] == ["90.0%", "80.0%"]
  assert table.columns[3].sub == "again"


def test_long_groups_are_folded_and_lose_no_row():
  mine = [attack(f"attack {n}", n) for n in range(20)]
  other = [attack(f"attack {n}", n, subject="blur") for n in range(12)]
  table = tables.table([*mine, *other], examples.images(), "Identity")
  shown, others = table.folded()
  assert [row.cells[0].text for row in shown.rows] == [
    *(f"attack {n}" for n in range(19, 11, -1)),  # the strongest ones
    *(f"attack {n}" for n in range(11, -1, -1)),  # of a group that is short
  ]
  assert len(others.rows) == 12 and {r.group for r in others.rows} == {
    shown.rows[0].group
  }
  assert table._replace(rows=table.rows[-12:]).folded()[1] is None
  assert table._replace(ranked=False).folded() == (
    table._replace(ranked=False),
    None,
  )
