"""Checks that imports go down only, by reading the source, not running it.

    launch, configs -> methods, attacks, release, reports -> training
                    -> data, models, privacy, metrics

A package imports itself and what is below it, and release imports reports,
which write its card. Further: no method imports another, the engine, reports,
releases and programs know no mechanism by name or setting, nothing in metrics
holds state, TensorFlow and PyTorch are never imported, and whatever else is
imported is a dependency of pyproject.toml.

Usage: python tools/check_imports.py [folder of the checkout]
"""

import ast
import pathlib
import re
import sys
import tomllib
from collections.abc import Iterator
from typing import NamedTuple

GROUND = frozenset({"data", "models", "privacy", "metrics"})
MIDDLE = GROUND | {"training"}
TOP = MIDDLE | {"methods", "attacks", "reports", "release"}
BELOW = {
  **dict.fromkeys(GROUND, frozenset()),
  "training": GROUND,
  "methods": MIDDLE,
  "attacks": MIDDLE,
  "reports": MIDDLE,
  "release": MIDDLE | {"reports"},
  "configs": TOP,
  "launch": TOP | {"configs"},
}
# These serve any mechanism, and know none.
IGNORANT = frozenset({"training", "reports", "release", "launch"})
FORBIDDEN = frozenset({"tensorflow", "torch", "torchvision", "clu"})
# Imported name -> installed name, where they differ.
DISTRIBUTIONS = {
  "absl": "absl-py",
  "PIL": "pillow",
  "orbax": "orbax-checkpoint",
}


class Import(NamedTuple):
  """One imported dotted name and the line that imports it."""

  name: str
  line: int


def imports(
  tree: ast.Module, module: str, is_package: bool
) -> Iterator[Import]:
  """Yields every imported name, made absolute, including those in functions.

  `from a import b` yields a.b, which may be a module or something in one.
  """
  parts = module.split(".")
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      for alias in node.names:
        yield Import(alias.name, node.lineno)
    elif isinstance(node, ast.ImportFrom):
      base = parts[: len(parts) - node.level + is_package] if node.level else []
      base += node.module.split(".") if node.module else []
      for alias in node.names:
        yield Import(".".join([*base, alias.name]), node.lineno)


def layer(name: str) -> str | None:
  """Returns the layer of a name, "" for the root package, None if foreign."""
  root, *rest = name.split(".")
  if root in ("configs", "launch"):
    return root
  if root != "jaxpriv":
    return None
  return rest[0] if rest and rest[0] in BELOW else ""


def direction_error(module: str, name: str) -> str | None:
  """The error in `module` importing our own `name`, or None."""
  here, there = layer(module), layer(name)
  if there is None or there == "":
    return None
  if here == "":
    return f"the root of the package imports {name}: it is below everything"
  if here == there == "methods":
    mine, other = module.split(".")[2:3], name.split(".")[2:3]
    if mine and other and mine != other:
      return f"imports the method {name}: move what both need down a layer"
    return None
  if here == there or there in BELOW[here]:
    return None
  return f"imports {name}: {there} is not below {here}"


def outside_error(name: str, declared: frozenset[str]) -> str | None:
  """The error in importing `name` from outside, or None."""
  root = name.split(".")[0]
  if root in FORBIDDEN:
    return f"imports {root}: not needed at run time, and not to be"
  if root in sys.stdlib_module_names or layer(name) is not None:
    return None
  if normalized(DISTRIBUTIONS.get(root, root)) in declared:
    return None
  return f"imports {root}: not among the dependencies in pyproject.toml"


def state_errors(tree: ast.Module) -> Iterator[Import]:
  """Yields code that holds state: `global`, and classes that are no tuples."""
  for node in ast.walk(tree):
    if isinstance(node, (ast.Global, ast.Nonlocal)):
      yield Import("rebinds an outer name", node.lineno)
    elif isinstance(node, ast.ClassDef):
      bases = {ast.unparse(base).split(".")[-1] for base in node.bases}
      if not bases & {"NamedTuple", "Protocol"}:
        yield Import(f"class {node.name} is not a NamedTuple", node.lineno)


def mechanism_errors(
  tree: ast.Module, mechanisms: frozenset[str]
) -> Iterator[Import]:
  """Yields what knows a mechanism: its name in code, or a setting of it."""
  told = {
    id(node.body[0].value)
    for node in ast.walk(tree)
    if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
    and node.body
    and isinstance(node.body[0], ast.Expr)
  }
  for node in ast.walk(tree):
    if isinstance(node, ast.Attribute) and ast.unparse(node.value).endswith(
      "config.model"
    ):
      text = f"reads config.model.{node.attr}, which is one mechanism's"
      yield Import(text, node.lineno)
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
      continue
    named = mechanisms & set(re.findall(r"\w+", node.value))
    if named and id(node) not in told:
      yield Import(f"names the mechanism {min(named)}", node.lineno)


def mechanisms_of(root: pathlib.Path) -> frozenset[str]:
  """Returns the names of the modules of jaxpriv.methods."""
  return frozenset(
    path.stem
    for path in (root / "jaxpriv" / "methods").glob("*")
    if path.is_dir() or path.suffix == ".py"
  ) - {"__init__", "__pycache__"}


def normalized(name: str) -> str:
  return re.sub(r"[-_.]+", "-", name).lower()


def dependencies(root: pathlib.Path) -> frozenset[str]:
  """Returns the normalized names of the run-time dependencies."""
  project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
  names = (re.match(r"[\w.-]+", line) for line in project["dependencies"])
  return frozenset(normalized(name[0]) for name in names if name)


def check_file(
  root: pathlib.Path, path: pathlib.Path, declared: frozenset[str]
) -> Iterator[str]:
  """Yields one line per error in one file."""
  relative = path.relative_to(root)
  is_package = path.name == "__init__.py"
  parts = (
    relative.parent.parts if is_package else relative.with_suffix("").parts
  )
  module = ".".join(parts)
  tree = ast.parse(path.read_text(), filename=str(relative))
  errors = [
    (line, error)
    for name, line in imports(tree, module, is_package)
    for error in (direction_error(module, name), outside_error(name, declared))
    if error
  ]
  if layer(module) == "metrics":
    errors += [
      (line, f"{name}: metrics hold no state")
      for name, line in state_errors(tree)
    ]
  if layer(module) in IGNORANT:
    errors += [
      (line, error)
      for error, line in mechanism_errors(tree, mechanisms_of(root))
    ]
  for line, error in sorted(set(errors)):
    yield f"{relative}:{line}: {error}"


def check(root: pathlib.Path) -> tuple[list[str], int]:
  """Returns the errors under `root` and the number of files read."""
  declared = dependencies(root)
  paths = sorted(
    path
    for package in ("jaxpriv", "configs", "launch")
    for path in (root / package).rglob("*.py")
  )
  return [e for path in paths for e in check_file(root, path, declared)], len(
    paths
  )


def main(argv: list[str]) -> int:
  root = pathlib.Path(argv[1] if len(argv) > 1 else __file__).resolve()
  root = root if root.is_dir() else root.parent.parent
  errors, count = check(root)
  for error in errors:
    print(error)
  if not count:
    print(f"{root}: no Python files under jaxpriv, configs or launch")
    return 1
  print(f"{count} files: {len(errors)} imports that go the wrong way")
  return 1 if errors else 0


if __name__ == "__main__":
  sys.exit(main(sys.argv))
