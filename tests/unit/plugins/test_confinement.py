"""What confines a process: in front of its command, and refused where that cannot be."""

from __future__ import annotations

import hashlib
import os
import pwd
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from capnet import (
    Cap,
    CapnetError,
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    PluginSpec,
    Unavailable,
    call,
)
from capnet.plugins.confinement import check_pins, confined
from tests.cost import HANGS

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


class Speller(Cap, name="confined.Speller"):
    @call
    async def check(self, word: str) -> bool: ...


def spec(*program: str, **options: Any) -> PluginSpec[Speller]:
    return PluginSpec("spell", contract=Speller, argv=program or ("true",), **options)


def output(spec: PluginSpec[Speller]) -> str:
    """What the command prints."""
    done = subprocess.run(confined(spec), capture_output=True, encoding="utf-8", timeout=HANGS, check=True)
    return done.stdout


def hundred(_: int) -> tuple[int, int]:
    return 100, 100


def test_without_any_the_command_is_what_it_is() -> None:
    assert confined(spec("a", "b")) == ["a", "b"]


def test_limits_hold_in_the_program() -> None:
    lowest = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    said = output(spec("sh", "-c", "ulimit -n; ulimit -c", rlimits={"nofile": min(60, lowest), "core": 0}))
    assert said.split() == [str(min(60, lowest)), "0"]


def test_a_prefix_stands_in_front() -> None:
    assert output(spec("sh", "-c", "echo $WORD", prefix=("env", "WORD=here"))) == "here\n"
    assert output(spec("sh", "-c", "echo $WORD; ulimit -c", prefix=("env", "WORD=x"), rlimits={"core": 0})) == "x\n0\n"


@ROOT_ONLY
def test_another_user_has_its_groups_and_no_others() -> None:
    nobody = pwd.getpwnam("nobody")
    command = confined(spec("sh", "-c", "id -u; id -g; id -G", user="nobody"))
    command[0] = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=HANGS, check=True, cwd="/")
    uid, gid, groups = done.stdout.splitlines()
    assert (int(uid), int(gid)) == (nobody.pw_uid, nobody.pw_gid)
    assert set(map(int, groups.split())) == set(os.getgrouplist("nobody", nobody.pw_gid))
    assert confined(spec(user=nobody.pw_uid)) == confined(spec(user="nobody"))


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"rlimits": {"nothing": 1}}, InvalidArgument),
        ({"rlimits": {"nofile": -1}}, InvalidArgument),
        ({"rlimits": {"nofile": True}}, InvalidArgument),
        ({"rlimits": {"nofile": "60"}}, InvalidArgument),
        ({"user": "no such user"}, InvalidArgument),
        ({"user": -7}, InvalidArgument),
        ({"prefix": ("/no/such/bwrap",)}, Unavailable),
        ({"prefix": ("env",), "env": {"PATH": "/nowhere"}}, Unavailable),
        ({"user": "nobody"}, PermissionDenied),
        ({"rlimits": {"nofile": 1 << 40}}, PermissionDenied),
    ],
    ids=["name", "negative", "bool", "text", "user", "number", "prefix", "path", "not root", "hard"],
)
def test_what_is_impossible_is_said_before(
    options: dict[str, Any], kind: type[CapnetError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(resource, "getrlimit", hundred)
    with pytest.raises(kind):
        confined(spec(**options))


def test_one_may_stay_who_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: pwd.getpwnam("nobody").pw_uid)
    assert confined(spec("true", user="nobody")) == ["true"]


def test_files_are_what_they_are_pinned_to(tmp_path: Path) -> None:
    file = tmp_path / "plugin.py"
    file.write_bytes(b"import capnet")
    digest = hashlib.sha256(b"import capnet").hexdigest()
    check_pins(spec(sha256={file: digest}))
    check_pins(spec(sha256={"plugin.py": digest.upper()}, cwd=tmp_path))
    for pins, kind in (
        ({file: digest[:-1] + ("0" if digest[-1] != "0" else "1")}, FailedPrecondition),
        ({file: ""}, FailedPrecondition),
        ({file: "ü"}, FailedPrecondition),
        ({tmp_path / "gone": digest}, Unavailable),
        ({tmp_path: digest}, Unavailable),
    ):
        with pytest.raises(kind):
            check_pins(spec(sha256=pins))
