"""The project's benchmarks, one file a part: each prints what it measured as plain lines, and asserts nothing."""

import importlib
import sys
from pathlib import Path

if __name__ == "__main__":
    here = Path(__file__).parent
    sys.path[:0] = [str(here.parent)]  # what tests share
    for part in sorted(here.glob("bench_*.py")):
        if len(sys.argv) == 1 or part.stem.removeprefix("bench_") in sys.argv[1:]:
            importlib.import_module(part.stem).run()
