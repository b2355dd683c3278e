"""Replaced faces are a function of few codes and of noise, and no more."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriv.data import alignment, dataset
from jaxpriv.data.procedural import (
  ProceduralFaces,
  factors,
  framing,
  sampling,
)
from jaxpriv.data.procedural.landmarks import five_points, locate
from jaxpriv.data.records import DataError
from jaxpriv.errors import SettingError
from jaxpriv.methods import face_replacement
from jaxpriv.methods.face_replacement import drawn as drawn_lib
from jaxpriv.methods.face_replacement.drawn import Drawn
from jaxpriv.methods.face_replacement.learned import Learned
from jaxpriv.training.mechanism import Trained
from tests import tiny
from tools import faces_folder


def config_of(**model):
  config = tiny.face_replacement(**model)
  config.data.attributes = ("Male", "Smiling")
  return config


def batch_of(rows=16, seed=0, **fields):
  batch = tiny.batch(rows, seed)
  rng = np.random.default_rng(seed)
  batch["image"] = batch["image"].astype(np.float32) / 255
  batch["pose"] = rng.uniform(-0.5, 0.5, (rows, 3)).astype(np.float32)
  return {**batch, **fields}


def test_codes_are_read_from_pose_cheeks_and_labels():
  codes = Drawn(
    config_of(yaw=3, pitch=2, skin=(41.0, 10.0), attributes=("Smiling",))
  )
  assert codes.count == 3 * 2 * 3 * 3
  batch = batch_of(4)
  batch["pose"] = np.array(
    [[-0.4, -0.1, 0], [0, 0.1, 0], [0.4, 9, 0], [np.nan] * 3], np.float32
  )
  batch["attributes"] = np.array([[0, 0], [1, 1], [0, -1], [1, 0]], np.int8)
  tones = np.array([(0xF6, 0xED, 0xE4), (0xA0, 0x7E, 0x56), (0x29, 0x24, 0x20)])
  image = (
    np.ones((4, tiny.SIDE, tiny.SIDE, 3)) * tones[[0, 1, 2, 0], None, None]
  )
  batch["image"] = (image / 255).astype(np.float32)
  read = np.asarray(codes.read({}, {}, batch))
  assert read.tolist() == [
    [0, 0, 0, 0, 0],
    [1, 1, 1, 0, 1],
    [2, 1, 2, 0, 2],
    [1, 1, 0, 0, 0],
  ]


def test_a_smile_is_read_from_the_width_of_the_mouth():
  codes = Drawn(config_of(smile=0.8))
  assert codes.count == 9 * 2
  batch = batch_of(4)
  points = np.full((4, 5, 2), 10.0, np.float32)
  points[:, 1, 0] = 20.0  # eyes are 10 pixels apart
  points[:, 3, 0] = [11, 10, 10, 10]
  points[:, 4, 0] = [18, 19, 17.5, 16]
  points[3, 4, 1] = 18  # sqrt(36 + 64)
  batch["landmarks"] = points
  read = lambda batch: np.asarray(codes.read({}, {}, batch))[:, 3].tolist()
  assert read(batch) == [0, 1, 0, 1]
  points[1, 4] = np.nan
  points[3, 0] = np.nan
  assert read(batch) == [0, 0, 0, 0]
  keys = jax.random.split(jax.random.key(0), 40)
  wanted = jnp.array([[1, 0, 1, i % 2] for i in range(40)])
  smiling = codes.factors(wanted, keys)["Smiling"]
  np.testing.assert_array_equal(smiling, np.arange(40) % 2)
  without = Drawn(config_of())
  assert np.asarray(without.read({}, {}, batch))[:, 3].tolist() == [0] * 4
  drawn = without.factors(wanted * jnp.array([1, 1, 1, 0]), keys)["Smiling"]
  assert 10 < drawn.sum() < 30


def test_with_fixed_noise_there_are_no_more_faces_than_codes():
  codes = Drawn(config_of(yaw=2, skin=(30.0,)))
  assert codes.count == 4
  draw = jax.jit(lambda batch: codes.image({}, {}, batch))
  track = np.full(16, 5, np.int32)
  images, read = [], []
  for seed in range(4):
    batch = batch_of(16, seed, track=track)
    batch["image"] *= np.linspace(0.2, 1, 16, dtype=np.float32)[
      :, None, None, None
    ]
    images.append(np.asarray(draw(batch)))
    read.append(np.asarray(codes.read({}, {}, batch)))
  images, read = np.concatenate(images), np.concatenate(read)
  assert len(np.unique(read, axis=0)) > 1
  for code in np.unique(read, axis=0):
    same = images[(read == code).all(1)]
    assert np.ptp(same, axis=0).max() == 0
  assert len(np.unique(images.reshape(len(images), -1), axis=0)) <= 4


def test_the_noise_is_of_the_secret_and_the_photograph_or_the_track():
  one, other = (Drawn(config_of(secret=s)) for s in (1, 1 + 2**33))
  key = lambda codes, batch: np.asarray(jax.random.key_data(codes.keys(batch)))
  batch = batch_of()
  first = key(one, batch)
  assert len(np.unique(first, axis=0)) == 16
  assert (first != key(other, batch)).any(1).all()
  shown = batch_of(track=np.array([3, 3, 4, -1] * 4, np.int32))
  tracked = key(one, shown)
  assert len(np.unique(tracked[[0, 1, 4, 5]], axis=0)) == 1
  assert (tracked[0] != tracked[2]).any()
  np.testing.assert_array_equal(tracked[3::4], first[3::4])  # no track


def test_drawn_faces_show_the_codes():
  codes = Drawn(config_of(yaw=3, pitch=1, attributes=("Male",)))
  keys = jax.random.split(jax.random.key(0), 9)
  wanted = jnp.array([[i % 3, 0, i // 3, 0, i % 3] for i in range(9)])
  drawn = codes.factors(wanted, keys)
  np.testing.assert_allclose(
    drawn["yaw"], 0.44 * np.array([-2, 0, 2] * 3) / 3, atol=1e-6
  )
  np.testing.assert_array_equal(drawn["pitch"], 0)
  told = np.arange(9) % 3 < 2
  np.testing.assert_array_equal(drawn["Male"][told], (np.arange(9) % 3)[told])
  tones = np.asarray(drawn["skin_tone"])
  assert (
    tones[:3].max() < tones[3:6].min() <= tones[3:6].max() < tones[6:].min()
  )
  for name in ("Wearing_Hat", "Eyeglasses", "cover", "bar"):
    assert not np.asarray(drawn[name]).any()
  five = five_points(drawn, 112, jnp)
  misfit = alignment.misfit(np.asarray(five, np.float64))
  template = alignment.template(112, "head")
  assert np.abs(np.asarray(five).mean(1) - template.mean(0)).max() < 0.1
  assert misfit.max() < alignment.LARGEST_MISFIT


@pytest.mark.parametrize("align", alignment.BY_POINTS)
def test_jax_frames_people_as_numpy_does(align):
  ids = np.arange(8)
  drawn = sampling.sample_people(3, ids)
  drawn |= sampling.sample_photographs(3, ids, ids)
  np.testing.assert_allclose(
    five_points(drawn, 64), locate(drawn, 64).landmarks[:, :5], atol=1e-4
  )
  ours = framing.aligned(drawn, align=align)
  theirs = framing.aligned_people(drawn, align)
  for name, value in ours.items():
    np.testing.assert_allclose(theirs[name], value, atol=1e-5, err_msg=name)


def test_a_cut_out_is_a_part_of_the_picture():
  codes = Drawn(config_of())
  batch = batch_of()
  picture = np.asarray(codes.image({}, {}, batch))
  cut = np.asarray(codes.cut_out({}, {}, batch))
  assert cut.shape == (16, tiny.SIDE, tiny.SIDE, 4)
  assert cut.min() >= 0 and cut.max() <= 1
  assert (cut[..., :3] <= cut[..., 3:] + 0.1).all()  # a colour cast may shine
  opaque = cut[..., 3] > 0.999
  assert 0.3 < opaque.mean() < 0.95
  np.testing.assert_allclose(cut[opaque][:, :3], picture[opaque], atol=2e-2)


def learned(**model):
  config = tiny.face_replacement("demo,learned", **model)
  config.data.attributes = ("Male", "Smiling")
  return config


def test_learned_faces_are_asked_for_by_codes_and_noise_alone():
  asked = Learned(
    learned(yaw=3, pitch=2, skin=(41.0, 10.0), attributes=("Smiling",))
  )
  codes = [[0, 0, 0, 0, 0], [1, 1, 1, 0, 1], [2, 0, 2, 0, 2]]
  codes = jnp.array(codes * 40)
  keys = jax.random.split(jax.random.key(0), len(codes))
  got = np.asarray(asked.condition(codes, keys), np.float64)
  assert got.shape == (120, 2 + 18) and not got[:, 5:].any()
  assert set(got[:, 0]) == {-1, 1} and abs(got[:, 0].mean()) < 0.4  # no code
  np.testing.assert_array_equal(got[:2, 1], [-1, 1])
  assert set(got[2::3, 1]) == {-1, 1}  # unknown, and so drawn
  yaw, pitch = factors.PHOTOGRAPH["yaw"][1], factors.PHOTOGRAPH["pitch"][1]
  np.testing.assert_allclose(got[:3, 2], yaw * np.array([-2, 0, 2]) / 3, 1e-6)
  np.testing.assert_allclose(got[:3, 3], pitch * np.array([-1, 1, -1]) / 2)
  bounds = [65, 41, 10, -50]
  for level in range(3):
    angles = 90 * got[level::3, 4]
    assert bounds[level] > angles.max() > angles.min() > bounds[level + 1]
    assert np.ptp(angles) > 0.7 * (bounds[level] - bounds[level + 1])
  again = asked.condition(codes, keys)
  np.testing.assert_array_equal(again, got.astype(np.float32))
  smiles = Learned(learned(smile=0.8))
  wanted = jnp.array([[1, 0, 1, 0], [1, 0, 1, 1]])
  got = np.asarray(smiles.condition(wanted, keys[:2]))
  np.testing.assert_array_equal(got[:, 1], [-1, 1])


def test_learned_smiles_are_mouths_as_wide_as_their_cells():
  """As codes of photographs are read, of points where they are asked for."""
  config = learned(smile=0.85)
  config.data.attributes = ("Male",)  # a generator may know no label of smiles
  keys = jax.random.split(jax.random.key(0), 2)
  codes = jnp.array([[1, 0, 1, 0], [1, 0, 1, 1]])
  asked = Learned(config)
  told = np.asarray(asked.condition(codes, keys))
  np.testing.assert_array_equal(told[:, 14:], [[1, 1, 0, 1, 1]] * 2)
  template = alignment.template(1, config.data.align)
  eyes = np.linalg.norm(template[1] - template[0])
  places = template + told[:, 4:14].reshape(2, 5, 2) * eyes / 10
  apart = lambda a, b: np.linalg.norm(places[:, b] - places[:, a], axis=-1)
  np.testing.assert_allclose(apart(3, 4) / apart(0, 1), [0.75, 0.95], atol=1e-3)
  middle = places[:, 3:].mean(1)
  np.testing.assert_allclose(
    middle, template[3:].mean(0) + 0 * middle, atol=1e-6
  )


def test_learned_skin_is_of_its_class_beyond_the_usual_angles():
  asked = Learned(learned(skin=(80.0, -60.0)))
  keys = jax.random.split(jax.random.key(0), 60)
  codes = jnp.array([[1, 0, i % 3, 0] for i in range(60)])
  angles = 90 * np.asarray(asked.condition(codes, keys))[:, 4]
  assert angles[::3].min() > 80 > angles[1::3].max()
  assert angles[1::3].min() > -60 > angles[2::3].max()


@pytest.fixture(scope="module")
def generator():
  """Phases of learned faces, a state of their generator, and a batch."""
  phases = face_replacement.phases(learned(yaw=2, skin=(30.0,), smile=0.85))
  batch = batch_of(8)
  return phases, phases[0].method.init(jax.random.key(1), batch, {}), batch


def test_of_learned_faces_there_are_no_more_than_codes(generator):
  (source, last), state, batch = generator
  assert source.name == "source" and last.needs == ("source",)
  batch = {**batch, "track": np.full(8, 5, np.int32)}
  batch["image"] = (
    batch["image"]
    * np.linspace(0.1, 1, 8, dtype=np.float32)[:, None, None, None]
  )
  five = np.repeat(alignment.template(tiny.SIDE, "head")[None], 8, axis=0)
  five[::2, 3:] += [[-1, 0], [1, 0]]  # wide mouths
  batch["landmarks"] = five.astype(np.float32)
  outputs = last.method.outputs
  read = np.asarray(outputs.code({}, {}, batch))
  faces = np.asarray(outputs.image({}, {"source": state}, batch))
  assert faces.shape == (8, tiny.SIDE, tiny.SIDE, 3)
  assert faces.min() >= 0 and faces.max() <= 1
  shown = np.unique(faces.round(5).reshape(8, -1), axis=0)
  kinds = len(np.unique(read, axis=0))
  assert len(set(read[:, 3])) == 2 and len(shown) == kinds
  apart = np.asarray(
    outputs.image({}, {"source": state}, {**batch, "track": np.arange(8)})
  )
  assert len(np.unique(apart.reshape(8, -1), axis=0)) == 8


def test_a_target_of_learned_faces_tells_of_their_memory(generator):
  phases, state, _ = generator
  (target,) = face_replacement.targets(
    learned(yaw=2, skin=(30.0,), smile=0.85),
    Trained(tuple(phases), {"source": state, "replacement": {}}),
  )
  assert "at most 8/N" in target.proven[0]
  assert "learned from photographs of people" in target.limits[-1]


def test_a_generator_comes_with_its_settings():
  with pytest.raises(SettingError, match="face_replacement:demo,learned"):
    face_replacement.phases(config_of(faces="learned"))


def test_a_generator_that_knows_no_smiles_is_not_asked_for_them():
  config = learned(smile=0.8, points=False)
  face_replacement.phases(config)
  config.data.attributes = ("Male",)
  with pytest.raises(SettingError, match="with Smiling among config.data.attr"):
    face_replacement.phases(config)
  config.model.points = True
  face_replacement.phases(config)


def test_a_generator_is_trained_or_taken_over():
  config = learned()
  source = ProceduralFaces(8, 1, tiny.SIDE)
  data = dataset.split_data(source, dict(train=0.5, attack=0.25, test=0.25), 0)
  face_replacement.check(config, data, lambda name: None)
  config.phases.source.steps = 0
  with pytest.raises(DataError, match="config.phases.source.steps is 0: give"):
    face_replacement.check(config, data, lambda name: None)
  source.max_faces = 3
  with pytest.raises(DataError, match="scenes: set config.data.max_faces to 0"):
    face_replacement.check(config, data, lambda name: None)
  face_replacement.check(config_of(), data, lambda name: None)


@pytest.fixture(scope="module")
def given(tmp_path_factory):
  """A config of given faces, its phases, and their state."""
  folder = tmp_path_factory.mktemp("given")
  faces_folder.write_faces(folder, ProceduralFaces(20, 2, 64, 3))
  config = tiny.face_replacement(
    "demo,given", folder=str(folder), yaw=1, skin=(30.0,), most=40
  )
  config.data.attributes = ("Young", "Male")
  config.model.attributes = ("Male",)
  phases = face_replacement.phases(config)
  return config, phases, phases[0].method.init(jax.random.key(0), {}, {})


def test_given_faces_are_those_of_the_folder(given):
  config, phases, pool = given
  assert [phase.name for phase in phases] == ["given", "replacement"]
  assert pool["faces"].shape == (40, tiny.SIDE, tiny.SIDE, 3)
  assert pool["faces"].dtype == np.uint8
  # Codes of the faces are read as those of photographs: Male is the last.
  males = ProceduralFaces(20, 2, 64, 3)
  column = males.attribute_names.index("Male")
  labelled = [int(males[i]["attributes"][column]) for i in range(40)]
  np.testing.assert_array_equal(pool["codes"][:, 4], labelled)
  assert len(np.unique(pool["codes"][:, 2])) == 2
  batch = batch_of(24)
  faces = np.asarray(phases[1].method.outputs.image({}, {"given": pool}, batch))
  read = np.asarray(phases[1].method.outputs.code({}, {}, batch))
  known = {face.tobytes(): i for i, face in enumerate(pool["faces"])}
  shown = [known[(255 * f).round().astype(np.uint8).tobytes()] for f in faces]
  there = set(map(tuple, pool["codes"].tolist()))
  for code, number in zip(read.tolist(), shown, strict=True):
    if tuple(code) in there:
      assert pool["codes"][number].tolist() == code
  assert len(set(shown)) > 8
  shown = phases[0].method.outputs.sample(pool, {}, batch)["given"]
  np.testing.assert_allclose(shown[3], pool["faces"][3] / 255, atol=1e-6)


def test_the_nearest_are_shown_where_there_is_no_face_of_a_code(given):
  config, _, _ = given
  config = config.copy_and_resolve_references()
  config.model.update(yaw=3)
  codes = face_replacement.Given(config)
  # yaw, pitch, skin, smile, Male
  there = jnp.array([[0, 0, 0, 0, 1], [1, 0, 0, 0, 0], [1, 0, 1, 0, 1]])
  keys = jax.random.split(jax.random.key(0), 200)
  choose = lambda code: set(
    np.asarray(codes.choose(there, jnp.array([code] * 200), keys)).tolist()
  )
  assert choose([1, 0, 0, 0, 0]) == {1}
  assert choose([2, 0, 1, 0, 1]) == {2}  # one level away
  # Unknown is as far from one as from the other: two levels of yaw decide.
  assert choose([2, 0, 0, 0, 2]) == {1}
  assert choose([1, 0, 0, 0, 1]) == {0, 1, 2}


def test_of_given_faces_there_are_no_more_than_codes(given):
  _, phases, pool = given
  outputs = phases[1].method.outputs
  batch = batch_of(16, track=np.full(16, 5, np.int32))
  batch["image"] *= np.linspace(0.2, 1, 16, dtype=np.float32)[
    :, None, None, None
  ]
  faces = np.asarray(outputs.image({}, {"given": pool}, batch))
  read = np.asarray(outputs.code({}, {}, batch))
  kinds = len(np.unique(read, axis=0))
  assert kinds > 1
  assert len(np.unique(faces.reshape(16, -1), axis=0)) <= kinds


def test_a_target_of_given_faces_tells_whose_they_are(given):
  config, phases, pool = given
  (target,) = face_replacement.targets(
    config, Trained(tuple(phases), {"given": pool, "replacement": {}})
  )
  assert "must have agreed" in target.limits[-1]
  assert "at most 6/N" in target.proven[0]


def test_a_folder_that_is_not_there_is_named(given, tmp_path):
  config, _, _ = given
  config = config.copy_and_resolve_references()
  config.model.folder = str(tmp_path / "none")
  with pytest.raises(DataError, match="config.model.folder = .*none: "):
    face_replacement.Given(config).pool()
  config.phases.given.steps = 0
  with pytest.raises(DataError, match="config.phases.given.steps is 0"):
    face_replacement.check(config, None, lambda name: None)
  config.phases.given.steps = 1
  config.model.folder = str(tmp_path / "a/b")
  for path in tmp_path / "a", tmp_path / "a/b":
    config.data.update(source="folder", path=str(path))
    with pytest.raises(
      DataError, match="faces of those who are to be replaced"
    ):
      face_replacement.check(config, None, lambda name: None)
  config.model.folder = ""
  with pytest.raises(SettingError, match="face_replacement:demo,given"):
    face_replacement.phases(config)
  config.model.update(folder="somewhere", most=0)
  with pytest.raises(SettingError, match="config.model.most = 0"):
    face_replacement.phases(config)


def test_what_is_proven_counts_the_codes():
  config = config_of(yaw=3, pitch=2, skin=(), attributes=("Male",), secret=9)
  phases = tuple(face_replacement.phases(config))
  (target,) = face_replacement.targets(
    config, Trained(phases, {"replacement": {}})
  )
  assert "at most 18/N" in target.proven[0]
  assert not target.caution and target.kept == ("Male",)
  with config.unlocked():
    config.model.secret = 0
  (target,) = face_replacement.targets(
    config, Trained(phases, {"replacement": {}})
  )
  assert "everybody's" in target.caution


@pytest.mark.parametrize(
  "model, message",
  [
    (dict(yaw=0), "config.model.yaw = 0"),
    (dict(skin=(10.0, 41.0)), "fall"),
    (dict(attributes=("Wearing_Hat",)), "cannot show at will"),
    (dict(attributes=("Young",)), "config.data.attributes does not"),
    (dict(faces="painted"), "config.model.faces = painted"),
    (dict(smile=0.8, attributes=("Smiling",)), "choose one of them"),
  ],
)
def test_settings_that_cannot_be_are_named(model, message):
  with pytest.raises(SettingError, match=message):
    face_replacement.phases(config_of(**model))


def test_every_class_of_skin_has_a_tone():
  for edges in ((), (41.0, 10.0), (55.0, 41.0, 28.0, 10.0, -30.0)):
    tones = drawn_lib._tones(edges)
    assert len(tones) == len(edges) + 1
    for first, last in tones:
      assert 1 <= first <= last <= len(factors.MONK_SKIN_TONES)
  assert drawn_lib._tones(()) == ((1, 10),)
