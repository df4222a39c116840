"""`daemun plugin new`: a whole project for a plugin of one kind, from templates.

kinds       which kinds there are, and what the plugin of a new project does
names       what a project is called: the plugin, its module, its distribution; which names are refused
project     filling the templates, and writing the files where nothing is

templates/common/ and templates/KIND/ hold the files, with `.txt` behind their names; `project` says which goes where.
"""
