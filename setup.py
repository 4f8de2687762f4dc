"""What `pyproject.toml` cannot say: the code in C is optional, and the demo has the plugins of `docs/examples` with it.

`CAPNET_PURE=1` builds without the code in C.
"""

import os
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_py import build_py

FOLDER = Path("capnet", "native")
PLUGINS = Path("docs", "examples", "plugins")

CORE = Extension(
    "capnet.native.core",
    sources=sorted(path.as_posix() for path in FOLDER.glob("*.c")),
    depends=sorted(path.as_posix() for path in FOLDER.glob("*.h")),
    optional=True,  # without a compiler all else is installed, and runs
)


class BuildPy(build_py):
    """Copies them beside the demo; where capnet is installed from a clone to be edited, they are found there."""

    def run(self) -> None:
        """See setuptools."""
        super().run()
        if not self.editable_mode:
            for source, target in self._plugins().items():
                self.mkpath(os.path.dirname(target))
                self.copy_file(source, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """See setuptools."""
        return [*super().get_outputs(include_bytecode), *({} if self.editable_mode else self._plugins()).values()]

    def _plugins(self) -> dict[str, str]:
        folder = Path(self.build_lib, "capnet", "cli", "demo", "plugins")
        files = [*PLUGINS.glob("*.py"), *PLUGINS.glob("*.toml")]
        return {str(file): str(folder / file.name) for file in files if file.name != "host.py"}


setup(ext_modules=[] if os.environ.get("CAPNET_PURE") else [CORE], cmdclass={"build_py": BuildPy})
