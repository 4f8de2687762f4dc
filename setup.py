"""What `pyproject.toml` cannot say: the code in C is optional, and `CAPNET_PURE=1` builds without it."""

import os
from pathlib import Path

from setuptools import Extension, setup

FOLDER = Path("capnet", "native")

CORE = Extension(
    "capnet.native.core",
    sources=sorted(path.as_posix() for path in FOLDER.glob("*.c")),
    depends=sorted(path.as_posix() for path in FOLDER.glob("*.h")),
    optional=True,  # without a compiler all else is installed, and runs
)

setup(ext_modules=[] if os.environ.get("CAPNET_PURE") else [CORE])
