"""The files for running a server: they parse, and name options that the command has."""

import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sala_compile.runtime.cli.serve import command
from sala_compile.runtime.serving.http.request_limits import LIMITS
from tests.support.imports import BUILD_INPUTS

FOLDER = Path(__file__).parents[2] / "examples" / "serve"
INSTRUCTIONS = {"FROM", "COPY", "RUN", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK"}
INSTRUCTIONS |= {"ENTRYPOINT", "CMD"}


def _joined(name: str) -> list[str]:
    """The lines of a file without comments; those that end in a backslash with what follows."""
    text = "\n".join(
        line
        for line in (FOLDER / name).read_text().splitlines()
        if not line.lstrip().startswith("#")
    )
    return [line for line in re.sub(r"\\\n\s*", "", text).splitlines() if line.strip()]


def _options(arguments: list[str]) -> dict[str, object]:
    """What sala-serve understands of a command line."""
    return command.make_context("sala-serve", arguments).params


def _unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string("\n".join(_joined("sala-serve.service")))
    return parser


def test_the_unit_starts_a_server_that_it_lets_end():
    unit = _unit()
    assert unit.sections() == ["Unit", "Service", "Install"]
    service = unit["Service"]
    program, *arguments = shlex.split(service["ExecStart"])
    assert Path(program).name == "sala-serve"
    options = _options(arguments)
    assert options["host"] == "127.0.0.1"
    assert options["api_key_file"] == Path("%d/api-keys")
    assert service["LoadCredential"].startswith("api-keys:")
    assert options["prefix_dir"] == Path("%S") / service["StateDirectory"] / "prefixes"
    assert options["prefix_cache"]
    assert isinstance(options["grace"], float)
    assert float(service["TimeoutStopSec"]) >= options["grace"] + 15
    assert service["RestartPreventExitStatus"] == "2"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_understands_the_unit(tmp_path: Path):
    text = (FOLDER / "sala-serve.service").read_text()
    unit = tmp_path / "sala-serve.service"
    unit.write_text(text.replace("/opt/sala-compile/bin/sala-serve", sys.executable))
    tried = ["systemd-analyze", "verify", "--man=no", str(unit)]
    done = subprocess.run(tried, capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if "sala-serve.service" in line]
    assert said == []
    unit.write_text(text.replace("UMask=", "UMusk="))
    done = subprocess.run(tried, capture_output=True, text=True)
    assert "UMusk" in done.stderr


def test_the_image_runs_a_server_as_a_user():
    lines = [line.split(maxsplit=1) for line in _joined("Dockerfile")]
    found = dict(lines)
    assert set(found) <= INSTRUCTIONS
    assert lines[0][0] == "FROM"
    assert ".whl)[serve]" in found["RUN"]
    assert found["USER"] not in ("root", "0")
    program, *always = json.loads(found["ENTRYPOINT"])
    assert program == "sala-serve"
    options = _options([*always, *json.loads(found["CMD"])])
    assert options["host"] == "0.0.0.0"
    assert options["api_key_file"] is not None
    assert str(options["port"]) == found["EXPOSE"]
    assert str(options["prefix_dir"]) in json.loads(found["VOLUME"])
    python, flag, code = json.loads(found["HEALTHCHECK"].partition("CMD")[2])
    assert (python, flag) == ("python", "-c")
    assert f":{options['port']}/ready" in code
    compile(code, "HEALTHCHECK", "exec")


def test_the_image_is_built_of_what_the_wheel_is_built_of():
    lines = _joined("Dockerfile.dockerignore")
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == set(BUILD_INPUTS)


@pytest.mark.parametrize("name", ["nginx.conf", "Caddyfile"])
def test_proxies_pass_streams_on(name: str):
    text = "\n".join(_joined(name))
    depth = 0
    for sign in re.findall(r"[{}]", text):
        depth += 1 if sign == "{" else -1
        assert depth >= 0
    assert depth == 0
    assert re.search(r"proxy_buffering off;|flush_interval -1", text)
    [size] = re.findall(r"(?:client_max_body_size|max_size) (\d+)M", text, re.IGNORECASE)
    assert int(size) << 20 >= LIMITS.body_bytes
    if name == "nginx.conf":
        statements = [line.strip() for line in text.splitlines()]
        assert all(line.endswith(("{", "}", ";")) for line in statements)


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_nginx_understands_its_file(tmp_path: Path):
    text = re.sub(r"\n\s*ssl_certificate.*", "", (FOLDER / "nginx.conf").read_text())
    whole = tmp_path / "nginx.conf"
    whole.write_text(f"events {{}}\nhttp {{\n{text.replace('443 ssl', '8443')}\n}}\n")
    tried = ["nginx", "-t", "-p", str(tmp_path), "-c", str(whole)]
    done = subprocess.run(tried, capture_output=True, text=True)
    assert "syntax is ok" in done.stderr
