"""Envelopes: XML from strangers, read no further than it must be, and never more than it may be.

limits.py     what a document may cost, counted before a parser sees it
prolog.py     what stands before its first tag
hardened.py   lxml behind both; syntax.py what it finds wrong, in words
scan.py       an envelope on its way: its operation, and whether it is one at all
media.py      content types; action.py what a message says that it is about
multipart.py  attachments; inflate.py compression
message.py    what is known of a request's message; passing.py content that is looked at while it passes
fault.py      Faults, written and read
"""
