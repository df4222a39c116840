"""Whether a new binary starts, and carries what it should: it is asked itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

from daemun.errors import SettingsError

__all__ = ["check_binary"]


def check_binary(binary: Path, plugins: Sequence[str], work: Path) -> None:
    """Raises `SettingsError` if it does not start, or a plugin is missing or cannot be imported in it."""
    environment = {"PATH": os.defpath, "DAEMUN_UNPACK": str(work), "LC_ALL": "C.UTF-8"}
    command = [str(binary), "plugins", "--json"]
    done = subprocess.run(command, env=environment, cwd=work, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        hint = "--include MODULE packs what nothing is seen to import"
        raise SettingsError(f"the binary was built but does not work ({hint}); it says:\n{done.stderr.strip()}")
    found = {one["name"] for one in msgspec.json.decode(done.stdout)}
    if missing := sorted(set(plugins) - found):
        raise SettingsError(f"the binary was built but lacks {', '.join(missing)}; it has {', '.join(sorted(found))}")
