"""`python -m capnet.plugin MODULE:FUNCTION`: the plugin whose main function that is; what a `PluginHost` starts."""

from __future__ import annotations

import sys

from capnet.plugin.running import found, run

if len(sys.argv) != 2:
    sys.stderr.write("usage: python -m capnet.plugin MODULE:FUNCTION\n")
    sys.exit(2)
run(found(sys.argv[1]))
