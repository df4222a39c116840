"""What holds for the project as a whole: documents that agree with the code.

documents.py   the READMEs, their blocks and their generated parts
generate.py    what is generated; `python -m tests.contract.generate` writes it anew
fields.py      settings structs as rows of a table
stage.py       a README's files in a folder, and its commands run there
source_tree.py the modules that ship, and what each imports
"""
