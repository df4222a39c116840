"""Routes from files (source `file`) and from the settings themselves (source `inline`).

document, translate   what a person writes, and the specs that it stands for; `fields` for its structs
places, precedence    hosts and URLs; which route wins
parse, explain        bytes to data with lines; faults in words
find, load            paths to files; files to objects, with the last good version of each
source                the sources, which read again when something changed
objects               the objects of a document of routes

Another source of objects in files builds on `Reader` and `FileSource`, as `daemun_knative` does.
"""

from daemun import SourceType, hookimpl
from daemun_file.document import Document, document_schema
from daemun_file.explain import ObjectError, decode, show_path, suggest
from daemun_file.load import Entry, RawObject, Reader
from daemun_file.places import endpoint_of, host_name
from daemun_file.settings import FileSettings, InlineSettings
from daemun_file.source import FileSource, InlineSource, open_file, open_inline

__all__ = [
    "Document",
    "Entry",
    "FileSettings",
    "FileSource",
    "InlineSettings",
    "InlineSource",
    "ObjectError",
    "RawObject",
    "Reader",
    "decode",
    "document_schema",
    "endpoint_of",
    "host_name",
    "show_path",
    "suggest",
]


@hookimpl
def daemun_sources() -> list[SourceType]:
    return [SourceType("file", FileSettings, open_file), SourceType("inline", InlineSettings, open_inline)]
