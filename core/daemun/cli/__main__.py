"""`python -m daemun.cli` is `daemun`."""

from daemun.cli.main import main

__all__: list[str] = []

main()
