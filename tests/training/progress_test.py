"""Nothing is silent for long, and no terminal is drawn on that cannot be."""

import io
import sys
import time

import pytest

from jaxpriv.training import progress


class Screen(io.StringIO):
  def isatty(self):
    return True


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
  monkeypatch.setattr(progress, "PATIENCE", 0.05)


def test_slow_work_says_what_it_does_and_quick_work_nothing(caplog):
  with caplog.at_level("INFO"):
    with progress.slow("Quick work"):
      pass
    with progress.slow("Slow work"):
      time.sleep(0.3)
    with pytest.raises(ValueError), progress.slow("Failed work"):
      raise ValueError
    time.sleep(0.1)
  assert [r.getMessage() for r in caplog.records] == ["Slow work ..."]


def test_a_bar_says_that_its_first_part_takes_long(caplog):
  with caplog.at_level("INFO"):
    with progress.bar("fsn", 2) as advance:
      time.sleep(0.3)
      advance(1)
      time.sleep(0.1)
      advance(2)
    with progress.bar("pen", 1) as advance:
      advance(1)
    time.sleep(0.1)
  said = [r.getMessage() for r in caplog.records]
  assert said[0] == "fsn: beginning ..." and said[1].startswith("fsn: 2/2")
  assert [text for text in said if "beginning" in text] == said[:1]


@pytest.mark.parametrize("term", ["", "dumb", "unknown", None])
def test_nothing_is_drawn_on_a_dumb_terminal(term, monkeypatch, caplog):
  screen = Screen()
  monkeypatch.setattr(sys, "stderr", screen)
  if term is None:
    monkeypatch.delenv("TERM", raising=False)
  else:
    monkeypatch.setenv("TERM", term)
  with caplog.at_level("INFO"), progress.bar("fsn", 1) as advance:
    advance(1)
  assert screen.getvalue() == ""
  assert "fsn: 1/1" in caplog.text


def test_a_bar_needs_no_stream(monkeypatch):
  monkeypatch.setattr(sys, "stderr", None)
  with progress.bar("fsn", 1) as advance:
    advance(1)
