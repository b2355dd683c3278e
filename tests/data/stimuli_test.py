"""Stimuli: folders of every kind, drawn pictures, and what a test takes."""

import numpy as np
import pytest
from PIL import Image

from jaxpriv.data import account, alignment, images, stimuli, tree
from jaxpriv.data.records import DataError, UnreadableImageError
from jaxpriv.data.stimuli import Concept, Pairing, Picture

PAIRING = Pairing("test", "x", "y", "a", "b")
FIVE = np.array([[20, 20], [40, 20], [30, 32], [22, 40], [38, 40]], float)


def save(path, pixels, **options):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(pixels).save(path, **options)


def pictures(name, count, five=()):
  """Blank pictures; those whose number is in `five` show a face."""
  blank = np.zeros((64, 64, 3), np.uint8)
  return Concept(
    tuple(
      Picture(f"{name}/{i}", blank, FIVE if i in five else None)
      for i in range(count)
    ),
    {f"{name}/bad": account.UNREADABLE},
  )


def names(group):
  return [picture.name for picture in group]


def test_the_fifteen_tests():
  assert len(stimuli.TESTS) == len({test.name for test in stimuli.TESTS}) == 15
  by_name = {test.name: test[1:] for test in stimuli.TESTS}
  assert by_name["Weapon (Modern)"] == (
    "weapon/white",
    "weapon/black",
    "weapon/tool-modern",
    "weapon/weapon-modern",
  )
  valence = ("valence/pleasant", "valence/unpleasant")
  assert by_name["Disability"] == (
    "disabled/disabled",
    "disabled/abled",
    *valence,
  )
  assert by_name["Gender-Career"][:2] == ("gender/male", "gender/female")
  of_valence = {k for k, row in by_name.items() if row[2:] == valence}
  others = {
    "Weapon", "Weapon (Modern)", "Native", "Asian", "Gender-Science",
    "Gender-Career",
  }  # fmt: skip
  assert set(by_name) - of_valence == others
  concepts = stimuli.concepts_of(stimuli.TESTS)
  assert len(concepts) == len(set(concepts)) == 40
  # 2 of valence, 6 of weapons, 6 of gender, 4 twice, and 2 of nine more.
  assert concepts[:4] == [
    "insect-flower/flower",
    "insect-flower/insect",
    *valence,
  ]


def test_pictures_of_all_formats_are_read_and_others_named(
  tmp_path, make_picture
):
  for i, name in enumerate(("b.jpg", "a.png", "deep/c.webp", "d.gif", "e.bmp")):
    save(tmp_path / "x" / "one" / name, make_picture(i))
  place = tmp_path / "x" / "one"
  (place / "broken.png").write_bytes(b"nothing")
  large = images.encode(make_picture(0, 200))
  (place / "half.jpg").write_bytes(large[: 3 * len(large) // 4])
  images.open_image(place / "half.jpg")  # its header can be read
  (place / "notes.txt").write_text("of where they are from")
  (place / ".hidden.png").write_bytes(b"")
  (tmp_path / "empty").mkdir()
  found = stimuli.read(tmp_path, ["x/one", "missing", "empty"])
  assert list(found) == ["x/one", "empty"]
  assert found["empty"] == Concept((), {})
  assert names(found["x/one"].pictures) == [
    "x/one/a.png", "x/one/b.jpg", "x/one/d.gif", "x/one/deep/c.webp",
    "x/one/e.bmp",
  ]  # fmt: skip
  assert found["x/one"].left_out == {
    "x/one/broken.png": account.UNREADABLE,
    "x/one/half.jpg": account.UNREADABLE,
    "x/one/notes.txt": f"{tree.NO_PHOTOGRAPH} (.txt)",
    "x/one/.hidden.png": tree.HIDDEN,
  }
  pixels = stimuli.squares(found["x/one"].pictures, 16, None)
  assert pixels.shape == (5, 16, 16, 3) and pixels.dtype == np.uint8
  original = Image.fromarray(make_picture(1))
  small = np.asarray(original.resize((16, 16), Image.Resampling.BILINEAR))
  np.testing.assert_array_equal(pixels[0], small)  # a.png
  (place / "a.png").unlink()
  with pytest.raises(UnreadableImageError, match="x/one/a.png"):
    stimuli.squares(found["x/one"].pictures, 16, None)


def test_the_square_is_central_and_upright(tmp_path):
  wide = np.zeros((20, 60, 3), np.uint8)
  wide[:, 20:40] = 100
  wide[:5, 20:40] = 200
  turned = Image.Exif()
  turned[0x0112] = 6  # the camera was turned: the top is on the right
  save(tmp_path / "x" / "1.png", wide)
  save(tmp_path / "x" / "2.png", np.rot90(wide), exif=turned)
  (concept,) = stimuli.read(tmp_path, ["x"]).values()
  for pixels in stimuli.squares(concept.pictures, 20, None):
    np.testing.assert_array_equal(pixels, wide[:, 20:40])


def test_faces_are_framed_by_their_points():
  pixels = np.zeros((64, 64, 3), np.uint8)
  for x, y in FIVE.astype(int):
    pixels[y - 1 : y + 1, x - 1 : x + 1] = 255
  template = FIVE * 3 + (5, 10)
  shown = Picture("x/0", pixels, FIVE)
  framed, central = (
    stimuli.squares([picture], 160, where)[0].mean(2)
    for picture, where in ((shown, template), (shown, None))
  )
  rows, columns = np.indices(framed.shape) + 0.5
  near = lambda x, y: (np.abs(columns - x) < 1.5) & (np.abs(rows - y) < 1.5)
  for (x, y), (u, v) in zip(template, FIVE * 160 / 64, strict=True):
    assert framed[near(x, y)].min() > 200
    assert central[near(u, v)].min() > 200
  plain = stimuli.squares([shown._replace(five=None)], 160, template)
  np.testing.assert_array_equal(plain[0].mean(2), central)


def test_own_tests(tmp_path):
  assert stimuli.tests_of(tmp_path) == stimuli.TESTS
  table = tmp_path / stimuli.TABLE
  table.write_text(
    "\ufeffname,x,y,a,b,remark\nHats, hats/on ,hats/off,warm,cold,mine\n",
    encoding="utf-8",
  )
  hats = Pairing("Hats", "hats/on", "hats/off", "warm", "cold")
  assert stimuli.tests_of(tmp_path) == (hats,)


@pytest.mark.parametrize(
  "text, message",
  [
    ("name,x,y,a,b\n", "has no rows"),
    ("", "has no rows"),
    ("name,x,y,a\nHats,on,off,warm\n", "row 1: b is empty.*name, x, y, a, b"),
    ("name,x,y,a,b\nA,x,y,a,b\nB,x,,a,b\n", "row 2: y is empty"),
    ("name,x,y,a,b\nA,x,y,a,../b\n", r"\.\./b is outside"),
    ("name,x,y,a,b\nA,/etc,y,a,b\n", "/etc is outside"),
    ("name,x,y,a,b\nA,x,y,a,b\nA,y,x,a,b\n", "names A twice"),
    ("name,x,y,a,b\nA\xff,x,y,a,b\n", "cannot be read"),
  ],
)
def test_wrong_tables_are_refused(tmp_path, text, message):
  (tmp_path / stimuli.TABLE).write_bytes(text.encode("latin-1"))
  with pytest.raises(DataError, match=f"tests.csv.*{message}"):
    stimuli.tests_of(tmp_path)


def test_drawn_stimuli():
  wanted = [*stimuli.concepts_of(stimuli.DRAWN_TESTS), "others"]
  found = stimuli.draw(wanted, count=4)
  assert set(found) == set(wanted) - {"others"} and len(found) == 10
  again = stimuli.draw(["dark", "jagged"], count=2)
  for name, concept in again.items():
    for one, other in zip(concept.pictures, found[name].pictures):
      assert one.name == other.name
      np.testing.assert_array_equal(one.source, other.source)
  every = [p for concept in found.values() for p in concept.pictures]
  assert len({picture.name for picture in every}) == 40
  assert len({picture.source.tobytes() for picture in every}) == 40
  size = 48
  template = alignment.arcface_template(size)
  mean = {
    name: stimuli.squares(concept.pictures, size, template).mean((1, 2))
    for name, concept in found.items()
  }
  cheeks = {
    name: stimuli.squares(found[name].pictures, size, template)[:, 28:33, 20:28]
    for name in ("light", "dark")
  }
  assert cheeks["light"].mean() > cheeks["dark"].mean() + 40
  # Smooth is bright and warm, each of them; jagged is dark and cold.
  assert (mean["smooth"][:, 0] > mean["smooth"][:, 2] + 40).all()
  assert (mean["jagged"][:, 2] > mean["jagged"][:, 0] + 20).all()
  assert mean["smooth"].min() > 120 > 90 > mean["jagged"].max()
  steps = {
    name: np.abs(np.diff(found[name].pictures[0].source.astype(int), axis=0))
    for name in ("smooth", "jagged")
  }
  assert steps["smooth"].max() < 5 and steps["jagged"].max() > 15
  for name, concept in found.items():
    faces = [picture.five is not None for picture in concept.pictures]
    assert all(faces) if name not in ("smooth", "jagged") else not any(faces)


def test_a_test_takes_as_many_of_both_targets():
  concepts = {
    "x": pictures("x", 5),
    "y": pictures("y", 3),
    "a": pictures("a", 2),
    "b": pictures("b", 4),
  }
  chosen = stimuli.ready(PAIRING, concepts)
  assert names(chosen.x) == ["x/0", "x/1", "x/2"]
  assert names(chosen.y) == ["y/0", "y/1", "y/2"]
  assert (len(chosen.a), len(chosen.b)) == (2, 4)
  assert chosen.faces == (False, False)
  bad = {f"{name}/bad": account.UNREADABLE for name in "xyab"}
  assert chosen.left_out == {**bad, "x/3": stimuli.MORE, "x/4": stimuli.MORE}


def faced(group):
  return [picture.five is not None for picture in group]


def test_two_concepts_are_framed_alike():
  concepts = {
    "x": pictures("x", 4, five=(0, 2, 3)),
    "y": pictures("y", 5, five=(0, 1, 3, 4)),
    "a": pictures("a", 2, five=(0, 1)),
    "b": pictures("b", 1),
  }
  chosen = stimuli.ready(PAIRING, concepts)
  assert chosen.faces == (True, False)
  assert names(chosen.x) == ["x/0", "x/2", "x/3"]
  assert names(chosen.y) == ["y/0", "y/1", "y/3"]
  assert all(faced((*chosen.x, *chosen.y)))
  assert not any(faced((*chosen.a, *chosen.b)))
  left = {k: v for k, v in chosen.left_out.items() if not k.endswith("bad")}
  assert left == {
    "x/1": account.FACELESS,
    "y/2": account.FACELESS,
    "y/4": stimuli.MORE,
  }
  exchanged = Pairing("other", "a", "b", "x", "y")
  other = stimuli.ready(exchanged, concepts)
  assert other.faces == (False, True)
  assert names(other.a) == ["x/0", "x/2", "x/3"] and len(other.b) == 4
  assert not any(faced((*other.x, *other.y)))
  plain = stimuli.ready(PAIRING, concepts, faces=False)
  assert plain.faces == (False, False) and len(plain.x) == len(plain.y) == 4
  assert not any(faced((*plain.x, *plain.y)))
  # Fewer than three quarters of one: the pictures of both are no faces.
  few = {**concepts, "y": pictures("y", 5, five=(0, 1, 3))}
  mixed = stimuli.ready(PAIRING, few)
  assert not mixed.faces[0]
  assert names(mixed.y) == ["y/0", "y/1", "y/2", "y/3"]
  assert not any(faced((*mixed.x, *mixed.y)))


@pytest.mark.parametrize("name", ["x", "b"])
def test_a_test_without_pictures_is_refused(name):
  concepts = {key: pictures(key, 2) for key in "xyab"}
  concepts[name] = Concept((), {})
  with pytest.raises(
    DataError, match=f"test: no picture of {name} can be read"
  ):
    stimuli.ready(PAIRING, concepts)
  del concepts[name]
  with pytest.raises(DataError, match=f"test: there is no folder {name}"):
    stimuli.ready(PAIRING, concepts)
