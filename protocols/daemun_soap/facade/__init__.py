"""The JSON façade: callers that speak JSON of back ends that speak SOAP, and the other way.

codec.py      XML and JSON by the types of a schema: reading.py, writing.py, values.py, shapes.py, models.py,
              bounds.py, complaints.py
operations.py the operations of a WSDL as JSON; schema.py, schema_values.py, openapi.py what describes them
to_soap.py    `json-to-soap`; answers.py what comes back, problem.py what went wrong
from_soap.py  `soap-to-json`; targets.py where it goes, replies.py what comes back
messages.py   envelopes; attachments.py parts of theirs, content.py content in memory, settings.py what may be set
"""
