"""Any terminal gets what it can show, and none ends a program."""

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxpriv.reports import streams
from tests.launch.programs import ROOT

PROGRAM = """
from jaxpriv.reports import streams, terminal
streams.forgiving()
streams.forgiving()  # a second time changes nothing
import sys
from tests.reports import examples
print("José ✓ 日本", file=sys.stderr)
for make in examples.ALL.values():
  terminal.print_tables(make())
for number in range(5000):
  print("a line that nobody reads", number)
print("the end", file=sys.stderr)
"""


def begun(stdout=subprocess.PIPE, **variables):
  environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
  if "TERM" not in variables:
    environment.pop("TERM", None)
  return subprocess.Popen(
    [sys.executable, "-c", PROGRAM],
    env=environment,
    stdout=stdout,
    stderr=subprocess.PIPE,
    cwd=ROOT,
  )


@pytest.mark.parametrize(
  "variables",
  [
    dict(PYTHONIOENCODING="latin-1"),
    dict(PYTHONIOENCODING="ascii", TERM="dumb", NO_COLOR="1"),
    dict(PYTHONIOENCODING="utf-8", COLUMNS="20", TERM="xterm"),
  ],
)
def test_tables_are_shown_in_every_encoding(variables):
  process = begun(**variables)
  output, errors = process.communicate(timeout=60)
  assert process.returncode == 0, errors
  encoding = variables["PYTHONIOENCODING"]
  text, said = output.decode(encoding), errors.decode(encoding)
  assert "hidden" in text and said.endswith("the end\n")
  if encoding == "utf-8":
    assert "✓" in text and "José" in said
  else:
    assert "0.3 - 1.3%" in text and "Jos" in said and "+ " in text


def test_a_reader_may_go_away():
  process = begun(PYTHONIOENCODING="ascii")
  assert process.stdout.readline()
  process.stdout.close()
  errors = process.stderr.read().decode()
  assert process.wait(60) == 0, errors
  assert errors.endswith("the end\n") and "Traceback" not in errors
  assert "BrokenPipe" not in errors


@given(st.text())
def test_every_text_has_a_likeness_in_ascii(text):
  assert streams.plain(text).isascii()
  assert len(streams.plain(text)) >= len(text)


@given(st.text(st.characters(codec="ascii")))
def test_what_is_ascii_stays(text):
  assert streams.plain(text) == text


def test_the_marks_of_tables_have_names():
  assert streams.plain("✓ ✕ – ∞ ≤ é ½ 日") == "+ x - inf <= e 12 ?"
