"""Programs: python -m launch.<name> --help."""

import os
import signal
import sys

if sys.argv[0] == "-m":
  # Python is importing the program, which takes seconds: Ctrl-C ends it as it
  # does later, without a traceback. `launch.common.run` puts back what was.
  AT_FIRST = signal.signal(signal.SIGINT, lambda *_: os._exit(130))
else:
  AT_FIRST = signal.getsignal(signal.SIGINT)
