"""The example of docs/commands.md, as a reader would run it: copied out of the page, against a gateway."""

import asyncio
import re
import sys
from pathlib import Path

from gateway.dev.brokers import Broker
from sandbox.settings import SandboxSettings
from tests.support.command_scenarios import TRAFFIC
from tests.support.gateway import keys_of, site

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"
ACCOUNT = 4400
# What it is given, user and number.
CALLS = {"rings": ("400", "71000000001"), "refused": ("nobody", "71000000002"), "wrong": ("400", "88091234567")}


def example() -> str:
    """The example's source."""
    (found,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return str(found)


async def run_example(broker: Broker, folder: Path) -> dict[str, list[str]]:
    """What it prints, line by line, for each of CALLS."""
    async with site(broker, folder, SandboxSettings(keys=keys_of([ACCOUNT]), traffic=TRAFFIC)) as place:
        file = folder / "crm.py"
        file.write_text(example(), encoding="utf-8")
        gateway = place.gateway()
        said = {}
        async with gateway:
            await place.polled()
            for name, (user, num) in CALLS.items():
                words = [broker.bootstrap, str(ACCOUNT), user, num, place.config.kafka.prefix]
                process = await asyncio.create_subprocess_exec(
                    sys.executable, str(file), *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
                )
                async with asyncio.timeout(60):
                    output, _ = await process.communicate()
                said[name] = [*output.decode().splitlines(), f"exit {process.returncode}"]
            await gateway.stop()
        return said
