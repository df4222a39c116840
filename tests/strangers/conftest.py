"""The strangers' own tests are run by `test_strangers.py`, each from where it is installed."""

collect_ignore_glob = ["*/tests/*"]
