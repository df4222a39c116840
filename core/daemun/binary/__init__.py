"""One file with Python, daemun and the plugins of an environment: `daemun build`.

carried.py      what goes in: the plugins' distributions, and what is left out for which reason
freeze.py       a folder that runs without Python, by PyInstaller
seal.py         the folder behind the launcher, as one file
launcher.c      what runs first: unpacks once, and becomes the program
inside.py       the program's first lines; Python for those that start `sys.executable`
check.py        whether it starts and carries what it should
environment.py  an environment of its own, for `--with`
"""
