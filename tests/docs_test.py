"""What the documents say can be followed: links, programs, settings, Python."""

import importlib.util
import itertools
import pathlib
import re

import pytest
from ml_collections import ConfigDict

ROOT = pathlib.Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])

# A setting, with what bash makes several of: config.phases.{a.steps=1,b.ema=0}.
SETTING = re.compile(r"\bconfig((?:\.(?:[A-Za-z_]\w*|\{[^}]*\}))+)")
# By its name, or by its file in the checkout.
CONFIG = re.compile(r"--config=((?:configs/)?\w+(?:\.py)?)(?::([\w,]+))?")
# Each config with all that it offers, to look for a setting without a command.
ALL = (
  "baseline.py:demo,gaussian_blur",
  "baseline.py:demo,k_same",
  "baseline.py:demo,k_same_net",
  "baseline.py:demo,lowkey",
  "deep_poisoning.py:demo",
  "dp_multitask.py:demo",
  "embedded_autoencoder.py:demo",
  "face_detection.py:demo",
  "face_replacement.py:demo",
  "face_replacement.py:demo,given",
  "face_source.py:demo",
  "face_synthesis.py:demo",
  "face_synthesis.py:demo,references",
  "mask_desensitization.py:demo",
)
# What pages add to the configs.
NEW = ("controls.lowkey", "controls.weaker", "attacks.my_attack")


def name(page):
  return str(page.relative_to(ROOT))


def plain(text):
  """The text without blocks of code."""
  return re.sub(r"^ *```.*?^ *```", "", text, flags=re.S | re.M)


def blocks(text, language):
  """What stands in blocks of a language, indented ones included."""
  return re.findall(rf"^ *```{language}\n(.*?)^ *```", text, re.S | re.M)


def anchors(page):
  """The anchors of a page, as GitHub makes them of its headings."""
  titles = re.findall(r"^#+ (.*)$", plain(page.read_text()), re.M)
  return {
    re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles
  }


def braces(text):
  """Writes out {a,b} as bash does: x.{a=1,b=2} is x.a=1 and x.b=2."""
  match = re.search(r"(\S*?)\{([^{}]*)\}(\S*)", text)
  if not match:
    return [text]
  before, inside, after = match.groups()
  return list(
    itertools.chain.from_iterable(
      braces(text[: match.start()] + before + word + after)
      for word in inside.split(",")
    )
  )


def settings(text):
  """Yields the dotted names of settings in a text, less those with a NAME."""
  for match in SETTING.finditer(text):
    for path in braces(match[1].lstrip(".")):
      path, _, _ = path.partition("=")
      is_file = path in ("py", "json")
      if not is_file and not re.search(r"\b[A-Z_]+\b", path):
        yield path


def has(config, path):
  """Whether a config, or a function or value of it, has a dotted name."""
  for part in path.split("."):
    if not isinstance(config, ConfigDict):
      return hasattr(config, part)
    if part not in config:
      return hasattr(config, part)
    config = config[part]
  return True


def load(path, argument=""):
  if not path.endswith(".py"):
    path = f"configs/{path}.py"
  spec = importlib.util.spec_from_file_location("config_of_docs", ROOT / path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config(*([argument] if argument else []))


@pytest.fixture(scope="module")
def configs():
  return [load(*f"configs/{one}".split(":")) for one in ALL]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
  for link in re.findall(r"\]\(([^)\s]+)\)", plain(page.read_text())):
    if link.startswith(("http:", "https:")):
      continue
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    assert target.exists(), f"{name(page)}: {link}"
    if anchor:
      assert anchor in anchors(target), f"{name(page)}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_programs_are_there(page):
  for module in re.findall(r"-m ((?:launch|tools)\.\w+)", page.read_text()):
    path = ROOT / f"{module.replace('.', '/')}.py"
    assert path.exists(), f"{name(page)}: {module}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_settings_are_there(page, configs):
  for path in settings(page.read_text()):
    known = path.startswith(NEW) or any(has(c, path) for c in configs)
    assert known, f"{name(page)}: config.{path}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_set_what_their_config_has(page):
  """A command ends where a line ends without a backslash."""
  for block in blocks(page.read_text(), "sh"):
    for command in re.sub(r"\\\n", " ", block).splitlines():
      chosen = CONFIG.search(command)
      if not chosen:
        continue
      config = load(*(group for group in chosen.groups() if group))
      rest = command[: chosen.start()] + command[chosen.end() :]
      for path in settings(rest):
        assert has(config, path), f"{name(page)}: {chosen[0]} config.{path}"


def test_the_lines_of_python_run_as_they_are_printed(capsys):
  (lines,) = blocks((ROOT / "README.md").read_text(), "python")
  assert len(lines.splitlines()) <= 25
  exec(compile(lines, "README.md", "exec"), {})  # noqa: S102
  printed = capsys.readouterr().out
  for attack in ("naive", "reverse", "parrot"):
    assert attack in printed
  assert "bad" in printed
