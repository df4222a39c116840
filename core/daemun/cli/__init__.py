"""The command line.

main.py      the group `daemun`, with the commands of plugins
serving.py   run, reverse-proxy, file-server
checking.py  check
looking.py   routes, explain
knowing.py   hooks, schema
installed.py  plugins
costing.py   bench; finding.py: a plugin by name, module or file
scaffolding.py  plugin new
building.py  build; units.py: systemd-unit, unit_words.py: what systemd takes
output.py    text for people, JSON for programs, exit codes
"""
