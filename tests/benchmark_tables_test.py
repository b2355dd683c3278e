"""Tables say what was measured or foretold, and what not."""

import json

import pytest

from tools import benchmark_tables


def row(program="step", **changes):
  known = dict(
    program=program, batch=4096, examples=4000, devices=1, dtype="bfloat16",
    parameters=5, held=3 * 2**30, compile_seconds=41.6, flops=1e12, ms=2.0,
    low_ms=1.9, high_ms=2.2, images_per_second=2_000_000.4, teraflops=500.4,
    peak_before=2**30, peak=5 * 2**30, limit="memory", share_of_best=0.4567,
    fed_ms=4.0, input_wait=0.5, finite=True,
  )  # fmt: skip
  return {**known, **changes}


def content(*programs, private=False, **changes):
  known = dict(
    config="multi", private=private, jax="0.11", device="card", devices=1,
    programs=programs, failed={}, left_out={},
  )  # fmt: skip
  return {**known, **changes}


def tables(tmp_path, **contents):
  for name, one in contents.items():
    (tmp_path / f"{name}.json").write_text(json.dumps(one))
  return "\n".join(benchmark_tables.tables(tmp_path))


def cells(text, start):
  (line,) = [line for line in text.splitlines() if line.startswith(start)]
  return [cell.strip() for cell in line.strip("|").split("|")]


def test_each_program_is_a_line(tmp_path):
  output = {
    **row("step: image", peak=7, peak_before=7, share_of_best=None, limit=None),
    "held": 2**29,
  }
  for name in ("fed_ms", "input_wait", "finite"):
    del output[name]
  absent = row("on a CPU", peak=None, peak_before=None, finite=False)
  absent.update(ms=1234.5, low_ms=1234.5, high_ms=1234.5, teraflops=0.12345)
  text = tables(
    tmp_path,
    one=content(row(), output, failed={"x": "no memory"}),
    two=content(absent, left_out={"y": "no time"}),
  )
  assert text.startswith("1 x card, JAX 0.11:\n\n| config | program |")
  assert cells(text, "| one | step |") == [
    "one", "step", "4,096", "2 (spread 15%)", "2,000,000", "45.7%, by memory",
    "500", "50%", "3.00 GiB", "5.00 GiB", "42 s",
  ]  # fmt: skip
  line = cells(text, "| one | step: image |")
  assert line[5] == line[7] == "" and line[8:10] == [
    "0.50 GiB", "no more than 0.00 GiB",
  ]  # fmt: skip
  slow = cells(text, "| two | on a CPU, not finite |")
  assert slow[3] == "1,234 (spread 0%)" and slow[6] == "0.123"
  assert slow[9] == ""
  assert "- one, x: no memory\n- two, y: no time\n" in text
  assert "Private" not in text


def test_private_steps_are_held_against_plain_ones(tmp_path):
  private = row(ms=9.0, examples=4500)
  text = tables(
    tmp_path,
    dp_plain=content(row()),
    dp_private=content(private, row("other"), private=True),
    # Of another hour; and of another dtype.
    multi=content(row(ms=1.0)),
    narrow=content(row("other", dtype="float32")),
  )
  assert cells(text.split("Private")[1], "| multi | step") == [
    "multi", "step", "4.00", "4.50",
  ]  # fmt: skip
  assert "| multi | other" not in text


def test_devices_have_tables_of_their_own(tmp_path):
  suites = {"layers": [{"layer": "pool", "ms": 1}, {"layer": "up", "x": 2}]}
  text = tables(
    tmp_path,
    one=content(row()),
    cpu=content(row(), device="cpu", devices=8),
    layers=dict(device="cpu", devices=8, torch="2.9", suites=suites),
  )
  assert text.index("8 x cpu, JAX 0.11:") < text.index("1 x card, JAX 0.11:")
  assert len(cells(text, "| one | step |")) == 11, "it is in one of them"
  assert "layers, 8 x cpu, torch 2.9:\n\n| layer | ms | x |" in text
  assert "| pool | 1 |  |\n| up |  | 2 |" in text


def test_what_was_foretold_has_tables_beside_what_was_measured(tmp_path):
  compiled = {"topology": "h200:8", "programs": [], "arguments": []}
  text = tables(tmp_path, one=content(row()), plan=compiled)
  assert text.startswith("h200:8:\n\n| config | program | batch | parameters")
  assert "1 x card, JAX 0.11:" in text and "| plan |" not in text


@pytest.mark.parametrize(
  "bad, message",
  [
    ({"findings": []}, "not a file of tools/on_device.sh"),
    ({"programs": []}, "not a file of tools/on_device.sh or launch.compile"),
  ],
)
def test_other_files_are_refused(bad, message, tmp_path):
  with pytest.raises(ValueError, match=message):
    tables(tmp_path, bad=bad)


def test_a_folder_without_files_is_refused(tmp_path):
  with pytest.raises(ValueError, match="no .json files"):
    list(benchmark_tables.tables(tmp_path))
