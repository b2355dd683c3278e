"""Stand-in for rules_python: Bazel's native rules under the loaded names."""

py_binary = native.py_binary
py_library = native.py_library
py_test = native.py_test
