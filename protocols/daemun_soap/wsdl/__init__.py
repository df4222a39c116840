"""WSDL 1.1: what describes a service.

documents.py  it and all that it imports; known.py schemas that everybody imports
read.py       from documents to facts; model.py the facts; gaps.py what is missing
gather.py     its schemas; tidy.py, repair.py, refusing.py without faults; schema.py as one, patterns.py in linear time
accessors.py  elements for what has a type only
publish.py    the documents with outside addresses
check.py      one element against a schema; validate.py messages
contract.py   all of it, for the filter `soap`
"""
