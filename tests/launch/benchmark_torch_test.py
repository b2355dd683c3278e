"""A peer is asked for turns, compared by rounds, and left out where it dies."""

import sys

import jax
import pytest

from launch import benchmark_torch

PEER = """#!{python}
import json, sys
sizes = json.loads(sys.argv[2])
print(json.dumps({{"parameters": 7}}), flush=True)
for line in sys.stdin:
  assert int(line) == 5
  print(0.8 if sizes["channels_last"] else 0.4, flush=True)
"""


@pytest.fixture
def peer(tmp_path, monkeypatch):
  """Writes a program in place of a Python with torch."""
  times = iter([0.2, 0.4, 0.3, 0.6, 0.2, 0.4])
  monkeypatch.setattr(
    benchmark_torch, "_ours", lambda *_: (lambda: next(times), 7)
  )

  def write(text):
    path = tmp_path / "python"
    path.write_text(text.format(python=sys.executable))
    path.chmod(0o755)
    return str(path)

  return write


def test_ratios_are_medians_over_rounds_to_the_faster_peer(peer):
  rows = benchmark_torch.run(3, peer(PEER))
  assert [(row["step"], row["ms"], row["vs_torch"]) for row in rows] == [
    ("jaxpriv, 1 device", 200, 0.5),
    (f"jaxpriv, {jax.device_count()} devices", 400, 1.0),
    ("torch", 400, 1.0),
    ("torch, channels last", 800, 2.0),
  ]
  assert rows[0]["least_ms"] == 200


def test_a_peer_that_dies_is_left_out_and_named(peer, capsys):
  dead = "#!{python}\nraise ImportError('there is no torch')\n"
  rows = benchmark_torch.run(2, peer(dead))
  assert [row["vs_torch"] for row in rows] == ["", ""]
  assert "torch is left out: ImportError: there is no torch" in (
    capsys.readouterr().out
  )
  assert benchmark_torch.run(1, "")[0]["vs_torch"] == ""
  assert "names no Python with it" in capsys.readouterr().out


def test_a_peer_of_another_size_is_no_peer(peer):
  with pytest.raises(AssertionError, match="8 parameters in torch, here 7"):
    benchmark_torch.run(1, peer(PEER.replace("7}}", "8}}")))
