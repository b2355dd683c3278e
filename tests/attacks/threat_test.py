"""Witnesses of others beside those that attackers train."""

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxpriv.attacks import reidentification, threat
from jaxpriv.attacks.threat import People, Reader
from jaxpriv.data import folder as folder_source
from jaxpriv.data import memory, pretrained, sources
from jaxpriv.data.memory import InMemory
from jaxpriv.methods import baselines
from jaxpriv.metrics import finding
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training.mechanism import Target, Trained
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

  def embed(network, pixels, align):
    seen.append((network, pixels, align))
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
    assert all(row.ceiling for row in judged)
    assert {row.floor for row in judged if row.metric == "rank-1"} == {
      1 / 3, 1 / 5,
    }  # fmt: skip
  assert [network for network, *_ in seen] == ["faceres"] * 2 + ["dlib"] * 2
  assert all(align == "landmarks" for *_, align in seen)
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


def test_witnesses_read_faces_framed_by_their_points(photographs, caplog):
  made = people(photographs, "dlib")
  made.config.data.align = "box"
  assert made.witnesses() == []
  assert (
    "dlib read faces framed by their points, and config.data.align is box"
    in (caplog.text)
  )


def test_attributes_are_read_by_thresholds_of_the_attackers_people(
  photographs, monkeypatch
):
  """A network that knows gender and age; smiles are asked of another one."""
  monkeypatch.setattr(pretrained, "missing", lambda names: [])
  load = lambda name: threat.witnesses.Witness(name, {})
  monkeypatch.setattr(threat.witnesses, "load", load)

  def read(network, pixels, align):
    mean = pixels.reshape(len(pixels), -1).mean(1) / 255
    return {"male": mean, "age": 60 * mean, "embedding": pixels}

  monkeypatch.setattr(threat.witnesses, "read", read)
  brightness = np.array([51, 51, 51, 102, 102, 102], np.uint8)
  shown = photographs.replace(
    image=np.broadcast_to(brightness[:, None, None, None], (6, 16, 16, 3)),
    attributes=np.array([[0, 1]] * 3 + [[1, 1]] * 3, np.int8),
  )
  shown = InMemory(shown.arrays, ("Male", "Smiling"))
  made = people(shown, "dlib", "age_gender")
  assert [reader.name for reader in made.witnesses()] == ["dlib"]
  (reader,) = made.others()
  assert reader.name == "age_gender" and "UTK" in reader.where["witness"]
  # Male is told at .3, half way between dark women and grey men.
  np.testing.assert_allclose(
    reader.read(shown)[:, 0], [-0.1] * 3 + [0.1] * 3, atol=1e-6
  )
  assert np.isnan(reader.read(shown)[:, 1]).all()


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
  rank, *_ = reidentification.undisguised(made.read(witness), shown.identities)
  assert (rank.figures.hits, rank.figures.total) == (40, 40)
  jax.clear_caches()


@pytest.mark.parametrize("kind, masked", [("black_box", 1), ("pixelation", 0)])
def test_a_public_mask_comes_with_the_images(photographs, kind, masked):
  model = dict(kind=kind, strength=0.25)
  config = ConfigDict(dict(model=model, data=dict(align="landmarks")))
  (phase,) = baselines.phases(config)
  made = people(photographs)
  made.mesh = mesh_lib.make_mesh()
  trained = Trained((phase,), {phase.name: {}})
  target = Target(kind, made.config, trained, ("image",))
  released = made.image(target, photographs).arrays
  assert ("keep" in released) == bool(masked)
  if masked:
    shown = photographs.arrays["image"] * released["keep"][..., None]
    np.testing.assert_array_equal(released["image"], shown)
