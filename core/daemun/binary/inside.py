"""The first lines of the program in the binary.

The binary has no interpreter that could be executed, yet the gateway starts Python programs: its fork server, the
guardian of processes, a Service whose command is `$PYTHON`. So `sys.executable` is a file that becomes this program
again, which then takes the words of an interpreter: `-c CODE`, `-m MODULE`, `FILE`.
"""

from __future__ import annotations

import os
import sys

__all__ = ["main", "run_python"]

_FLAGS = frozenset("IESBsuOq")
_WITH_A_WORD = ("-W", "-X")
_AUTHORITIES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where systems keep the certificates of authorities."""


def main() -> None:
    """`daemun`, or Python if it was asked for by that name."""
    folder = os.path.dirname(sys.executable)
    sys.executable = os.path.join(folder, "python")
    _forget_libraries(str(getattr(sys, "_MEIPASS", "")))
    if os.environ.pop("DAEMUN_AS_PYTHON", ""):
        run_python(sys.argv[1:])
        return
    _find_authorities()
    from daemun.cli.main import main as daemun

    daemun(prog_name="daemun")


def run_python(words: list[str]) -> None:
    """Runs what an interpreter would with `words` as its arguments. Its flags are taken and have no effect."""
    words = list(words)
    while words and words[0][:1] == "-" and words[0] not in ("-c", "-m"):
        flag = words.pop(0)
        if flag in _WITH_A_WORD and words:
            words.pop(0)
        elif flag[:2] not in _WITH_A_WORD and not _FLAGS.issuperset(flag[1:]):
            sys.exit(f"daemun: as Python it does not know {flag} (accepted: -c CODE, -m MODULE, FILE)")
    if not words or (words[0] in ("-c", "-m") and len(words) == 1):
        sys.exit("daemun: as Python it needs -c CODE, -m MODULE or FILE")
    import runpy

    kind, *rest = words
    if kind == "-c":
        sys.argv = [kind, *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__", "__builtins__": __builtins__})
    elif kind == "-m":
        sys.argv = rest
        sys.path.insert(0, os.getcwd())
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        sys.path.insert(0, os.path.dirname(os.path.abspath(kind)))
        runpy.run_path(kind, run_name="__main__")


def _forget_libraries(folder: str) -> None:
    """Takes `folder` out of what programs that are started would search: our libraries are none of theirs."""
    for name in [name for name in os.environ if name.startswith("_PYI_") or name == "LD_LIBRARY_PATH_ORIG"]:
        del os.environ[name]
    found = [one for one in os.environ.pop("LD_LIBRARY_PATH", "").split(":") if one and one != folder]
    if found:
        os.environ["LD_LIBRARY_PATH"] = ":".join(found)


def _find_authorities() -> None:
    """The system's certificates of authorities, where this one keeps them elsewhere than the one of the build did."""
    import ssl

    paths = ssl.get_default_verify_paths()
    if paths.cafile is None and paths.capath is None:
        for file in filter(os.path.exists, _AUTHORITIES):
            os.environ["SSL_CERT_FILE"] = file
            return


if __name__ == "__main__":
    main()
