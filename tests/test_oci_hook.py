# SPDX-License-Identifier: Apache-2.0
"""`lighterd oci-hook`: a hook that is told what it asks for."""
import json

import pytest

import lighter


def hook(tmp_path, *args, state=None, root="rootfs", **kw):
    (tmp_path / "config.json").write_text(json.dumps({"ociVersion": "1.0.2", "root": {"path": root}}))
    state = state or {"ociVersion": "1.0.2", "id": "c1", "status": "created", "pid": 42, "bundle": str(tmp_path),
                      "annotations": {"a.b/c": "the value"}}
    return lighter.run([lighter.BUILD / "lighterd", "oci-hook", *args], stdin=json.dumps(state), **kw)


def test_values(tmp_path):
    echo = ("--", "/bin/echo", "-n")
    assert hook(tmp_path, *echo, "{{id}} {{ pid }}", "{{status}}").stdout == "c1 42 created"
    assert hook(tmp_path, *echo, "{{bundle}}", "x{{rootfs}}y").stdout == f"{tmp_path} x{tmp_path}/rootfsy"
    assert hook(tmp_path, *echo, "{{rootfs}}", root="/abs").stdout == "/abs"
    assert hook(tmp_path, *echo, '{{annotation "a.b/c"}}', '[{{annotation "none"}}]', "{{annotation `a.b/c`}}").stdout == \
        "the value [] the value"
    assert hook(tmp_path, "/bin/sh", "-c", "exit 7", check=False).returncode == 7


@pytest.mark.parametrize("args, text", [
    ((), "needs a program"), (("--",), "needs a program"), (("/none",), "/none"), (("/bin/echo", "{{id"), "not closed"),
    (("/bin/echo", "{{env}}"), "{{env}}: not defined"), (("/bin/echo", "{{" + "x" * 300 + "}}"), "too long"),
])
def test_what_cannot_be(tmp_path, args, text):
    p = hook(tmp_path, *args, check=False)
    assert p.returncode == 1 and text in p.stderr and p.stdout == ""


def test_a_state_that_is_none(tmp_path):
    for state in ({}, {"id": 1}, {"id": "x", "status": "created", "bundle": "/none"}, []):
        assert hook(tmp_path, "/bin/echo", state=state or {"x": 1}, check=False).returncode == 1
