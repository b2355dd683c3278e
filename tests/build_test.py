"""BUILD tells the truth about the tree, checked with and without Bazel.

BUILD is read as what it is, a small subset of Python, with stand-ins for the
rules that note each target.
"""

import ast
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGES = ("jaxpriv", "configs", "launch")

# The Python syntax that BUILD files use: no def, import or class.
STARLARK = (
  ast.Module,
  ast.Expr,
  ast.Call,
  ast.keyword,
  ast.Name,
  ast.Constant,
  ast.List,
  ast.ListComp,
  ast.comprehension,
  ast.Subscript,
  ast.Slice,
  ast.BinOp,
  ast.Add,
  ast.UnaryOp,
  ast.USub,
  ast.Load,
  ast.Store,
)


def files(pattern):
  """Returns the paths below the root that match, as Bazel's glob would."""
  paths = (p.relative_to(ROOT) for p in ROOT.glob(pattern) if p.is_file())
  return {str(p) for p in paths if "__pycache__" not in p.parts}


def glob(include, exclude=()):
  names = set().union(*map(files, include))
  assert names, f"{include} matches nothing"
  return sorted(names - set().union(*map(files, exclude)))


@pytest.fixture(scope="module")
def targets():
  """Returns name -> (kind, attributes) of every target in BUILD."""
  tree = ast.parse((ROOT / "BUILD").read_text())
  foreign = [n for n in ast.walk(tree) if not isinstance(n, STARLARK)]
  assert not foreign, f"not Starlark: {[ast.unparse(n) for n in foreign]}"
  targets, settings = {}, []

  def rule(kind):
    def note(name, **attributes):
      assert name not in targets, f"{name} is defined twice"
      targets[name] = (kind, attributes)

    return note

  kinds = ("py_library", "py_binary", "py_test", "filegroup")
  scope = {kind: rule(kind) for kind in kinds}
  for name in ("load", "package", "licenses", "exports_files"):
    scope[name] = lambda *args, name=name, **kwargs: settings.append(name)
  scope |= {"glob": glob, "len": len, "True": True, "__builtins__": {}}
  exec(compile(tree, "BUILD", "exec"), scope)
  assert "licenses" in settings
  return targets


def of_kind(targets, kind):
  return {name: a for name, (k, a) in targets.items() if k == kind}


@pytest.mark.parametrize("package", [*PACKAGES, "tools"])
def test_every_module_is_in_one_library(targets, package):
  libraries = of_kind(targets, "py_library").values()
  listed = [src for library in libraries for src in library["srcs"]]
  depth = "*.py" if package == "tools" else "**/*.py"
  modules = files(f"{package}/{depth}")
  assert modules
  assert {src: listed.count(src) for src in modules} == dict.fromkeys(
    modules, 1
  )


def test_every_test_file_is_a_test(targets):
  tests = of_kind(targets, "py_test")
  assert {name + ".py" for name in tests} == files("tests/**/*_test.py")
  for name, test in tests.items():
    assert test["args"] == [name + ".py"]
    assert test["main"] in test["srcs"]
    assert name + ".py" in test["srcs"]


def test_what_tests_share_is_in_reach_of_all(targets):
  helpers = files("tests/**/*.py") - files("tests/**/*_test.py")
  assert set(targets["testing"][1]["srcs"]) == helpers
  for test in of_kind(targets, "py_test").values():
    assert ":testing" in test["deps"]


def test_every_program_can_be_run(targets):
  programs = files("launch/*.py") - {"launch/__init__.py"}
  binaries = of_kind(targets, "py_binary")
  assert {name + ".py" for name in binaries} == programs


def test_files_that_are_not_python_travel_with_the_package(targets):
  others = files("jaxpriv/**/*") - files("jaxpriv/**/*.py")
  assert set(targets["jaxpriv"][1]["data"]) == others


def test_names_resolve(targets):
  for name, (_, attributes) in targets.items():
    for key in ("deps", "data", "srcs"):
      for label in attributes.get(key, []):
        if label.startswith(":"):
          assert label[1:] in targets, f"{name} names {label}"
        else:
          assert (ROOT / label).is_file(), f"{name} names {label}"


def test_bazel_agrees(targets, tmp_path):
  if not shutil.which("bazel"):
    pytest.skip("bazel is not installed (Debian: bazel-bootstrap)")
  if not (ROOT / "WORKSPACE").is_file():
    pytest.skip("not in a checkout: this is a test run by Bazel")
  query = subprocess.run(
    ["bazel", "--batch", f"--output_user_root={tmp_path}", "query", "//..."],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert query.returncode == 0, query.stderr
  assert set(query.stdout.split()) == {f"//:{name}" for name in targets}
  # Bazel leaves folders that cannot be removed until they may be written.
  subprocess.run(["chmod", "-R", "u+w", str(tmp_path)], check=True)
