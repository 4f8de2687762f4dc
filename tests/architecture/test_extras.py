"""What is optional is optional: the library and its command work when no extra is installed."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXTRAS = ("sniffio", "trio", "uvloop", "rich", "typer", "watchfiles")
"""`sniffio` is none of ours: it comes with trio, so whoever has trio would not notice that it is used."""

WITHOUT = f"""
import runpy, sys
sys.path.insert(0, ".")
sys.modules.update(dict.fromkeys({EXTRAS!r}))
"""


def test_the_files_of_the_readme_run_without_any_extra(tmp_path: Path) -> None:
    """Contract, host, connection and a transport, on plain asyncio."""
    for name, text in re.findall(r"^```py\n# (\w+\.py)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL):
        (tmp_path / name).write_text(text, encoding="utf-8")
    program = f"{WITHOUT}\nrunpy.run_path(%r, run_name='__main__')"
    with subprocess.Popen(
        [sys.executable, "-c", program % "server.py"], cwd=tmp_path, stderr=subprocess.PIPE
    ) as server:
        assert server.stderr is not None and server.stderr.readline()
        done = run(program % "client.py", tmp_path)
        server.terminate()
        assert server.communicate()[1] == b""
    assert (done.stdout, done.stderr, done.returncode, server.returncode) == ("1\n", "", 0, 0)


def test_the_demo_runs_without_any_extra(tmp_path: Path) -> None:
    """Plain lines where rich is not installed; the plugin process has the extras and does not need them."""
    (tmp_path / "words.md").write_text("a capability\n")
    done = run(f"{WITHOUT}\nfrom capnet.cli import main\nsys.exit(main(['demo', '.', 'capability']))", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All of it went as it should." in done.stdout


def test_who_freezes_a_program_finds_what_cbor2_imports(tmp_path: Path) -> None:
    """Such tools read imports in the code, also those that never run; cbor2 imports in C."""
    tree = ast.parse((ROOT / "capnet" / "wire" / "codec.py").read_text(encoding="utf-8"))
    (guarded,) = [node for node in tree.body if isinstance(node, ast.If)]
    named = ast.unparse(ast.Module(guarded.body, []))
    values = "[{'a': 1.5}, Decimal('1.5'), Fraction(1, 3), UUID(int=1), ip_address('::1'), re.compile('a')]"
    program = (
        "import sys, cbor2\nbefore = set(sys.modules)\ncbor2.dumps(1)\n"
        "from decimal import Decimal\nfrom fractions import Fraction\nfrom ipaddress import ip_address\nimport re\n"
        f"from uuid import UUID\ncbor2.loads(cbor2.dumps({values}))\nfound = set(sys.modules) - before\n"
        f"for name in found: del sys.modules[name]\n{named}\nprint(sorted(found - set(sys.modules)))\n"
    )
    done = run(program, tmp_path)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def run(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program in a new interpreter, in a folder."""
    return subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)
