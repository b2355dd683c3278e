"""Witnesses of others beside those that attackers train."""

import jax
import numpy as np
import pytest

from jaxpriv.attacks import reidentification, threat
from jaxpriv.attacks.threat import People, Reader
from jaxpriv.data import folder as folder_source
from jaxpriv.data import memory, pretrained, sources
from jaxpriv.data.memory import InMemory
from jaxpriv.metrics import finding
from jaxpriv.training.mechanism import Target
from tests import tiny


def people(photographs, *witnesses):
  config = tiny.embedded_autoencoder()
  config.evaluation.witnesses = witnesses
  made = People(config, "", None, photographs, photographs)
  flat = lambda shown: shown.arrays["image"].reshape(len(shown), -1) / 255
  made.once("recogniser", lambda: (Reader("own", flat), None))
  return made


@pytest.fixture
def photographs():
  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, (6, 16, 16, 3), np.uint8)
  return InMemory({"image": image, "identity": np.repeat(np.arange(3), 2)}, ())


def test_witnesses_say_what_they_have_learned_from(photographs, monkeypatch):
  """And read what is released as they read the photographs."""
  monkeypatch.setattr(pretrained, "missing", lambda names: [])
  monkeypatch.setattr(threat.witnesses, "load", lambda name: name)
  seen = []

  def embed(network, pixels, aligned):
    seen.append((network, pixels, aligned))
    return pixels.reshape(len(pixels), -1)[:, :8].astype(np.float32)

  monkeypatch.setattr(threat.witnesses, "embed", embed)
  made = people(photographs, "faceres", "dlib")
  names = [reader.name for reader in made.recognisers()]
  assert names == ["own", "faceres", "dlib"]
  target = Target("m", made.config, None, ("image",))
  released = photographs.replace(image=255 - photographs.arrays["image"])
  monkeypatch.setattr(made, "image", lambda target, shown: released)
  made.strips = [{}]
  rows = list(reidentification.attack(target, made))
  for name in ("faceres", "dlib"):
    mine = [row for row in rows if row.where["recogniser"] == name]
    assert {(row.by, row.where["gallery"]) for row in mine} >= {
      ("undisguised", "other photograph"), ("naive", "other photograph"),
      ("reverse", "same photograph"), ("parrot", "other photograph"),
    }  # fmt: skip
    said = f"trained on {pretrained.WEIGHTS[name].trained_on}"
    assert {row.where["witness"] for row in mine} == {said}
    judged = [row for row in mine if row.wanted == finding.HIDDEN]
    assert all(row.ceiling and row.floor == 1 / 3 for row in judged)
  assert [network for network, *_ in seen] == ["faceres"] * 2 + ["dlib"] * 2
  assert all(aligned for *_, aligned in seen)
  np.testing.assert_array_equal(seen[1][1], released.arrays["image"])


def test_a_witness_that_was_not_fetched_is_named(
  photographs, monkeypatch, tmp_path, caplog
):
  monkeypatch.setenv("JAXPRIV_CACHE", str(tmp_path))
  made = people(photographs, "faceres", "dlib")
  assert [reader.name for reader in made.recognisers()] == ["own"]
  assert (
    "not been fetched: faceres, dlib; run python -m launch.f" in caplog.text
  )


def test_witnesses_read_faces_framed_by_landmarks(photographs, caplog):
  made = people(photographs, "dlib")
  made.config.data.align = "box"
  assert made.witnesses() == []
  assert (
    "dlib read faces framed by landmarks, and config.data.align is box"
    in (caplog.text)
  )


@pytest.mark.faces
@pytest.mark.networks
def test_real_people_are_all_found_undisguised(faces):
  """Forty of them, two photographs each, of 64 px."""
  source = sources.Framed(folder_source.FolderSource(faces, ("london",)), 64)
  chosen = np.flatnonzero(source.identities < np.sort(
    np.unique(source.identities))[40])  # fmt: skip
  shown = memory.in_memory(source).take(chosen)
  made = people(shown, "faceres")
  (witness,) = made.witnesses()
  rank = reidentification.undisguised(made.read(witness), shown.identities)
  assert (rank.figures.hits, rank.figures.total) == (40, 40)
  jax.clear_caches()
