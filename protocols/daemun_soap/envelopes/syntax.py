"""What libxml2 finds wrong in XML, in words for who wrote it, without what was read."""

from __future__ import annotations

from lxml import etree

from daemun_soap.envelopes.limits import MAX_DEPTH

__all__ = ["in_words", "limit_of"]

_KINDS: dict[object, str] = {code: kind for kind, code in vars(etree.ErrorTypes).items() if isinstance(code, int)}
_WORDS = {
    "ERR_ATTRIBUTE_NOT_FINISHED": "an attribute whose quote is not closed",
    "ERR_ATTRIBUTE_NOT_STARTED": "an attribute without quotes",
    "ERR_ATTRIBUTE_REDEFINED": "an attribute that an element has twice",
    "ERR_ATTRIBUTE_WITHOUT_VALUE": "an attribute without a value",
    "ERR_CDATA_NOT_FINISHED": "a CDATA section that is not closed",
    "ERR_COMMENT_NOT_FINISHED": "a comment that is not closed",
    "ERR_DOCUMENT_EMPTY": "it has no element",
    "ERR_DOCUMENT_END": "something follows the end of the first element",
    "ERR_ENTITYREF_SEMICOL_MISSING": "an `&` that is not written `&amp;`",
    "ERR_GT_REQUIRED": "a tag that is not closed by `>`",
    "ERR_HYPHEN_IN_COMMENT": "two hyphens inside of a comment",
    "ERR_INVALID_CHAR": "a character that XML does not allow",
    "ERR_INVALID_CHARREF": "a reference to a character that is none",
    "ERR_INVALID_DEC_CHARREF": "a reference to a character that is none",
    "ERR_INVALID_ENCODING": "bytes that are not of its encoding",
    "ERR_INVALID_HEX_CHARREF": "a reference to a character that is none",
    "ERR_LTSLASH_REQUIRED": "an element that is not closed",
    "ERR_LT_IN_ATTRIBUTE": "a `<` in an attribute",
    "ERR_MISPLACED_CDATA_END": "a `]]>` without a CDATA section",
    "ERR_NAME_REQUIRED": "a `<`, `&` or blank where a name is to follow",
    "ERR_RESERVED_XML_NAME": "an XML declaration that is not at its beginning",
    "ERR_SPACE_REQUIRED": "no blank between attributes",
    "ERR_TAG_NAME_MISMATCH": "an end tag that is not that of the open element",
    "ERR_TAG_NOT_FINISHED": "it ends before its elements are closed",
    "ERR_UNDECLARED_ENTITY": "an entity, which SOAP forbids",
    "NS_ERR_ATTRIBUTE_REDEFINED": "an attribute that an element has twice",
    "NS_ERR_QNAME": "a name with more than one colon",
    "NS_ERR_UNDEFINED_NAMESPACE": "a prefix that is not declared",
    "NS_ERR_XML_NAMESPACE": "a declaration of a namespace that XML does not allow",
    "WAR_NS_URI": "a namespace that is no URI",
}
_MAX_TEXT_BYTES = 10_000_000
_MAX_NAME_BYTES = 50_000


def in_words(error: etree.XMLSyntaxError) -> str:
    """What is wrong."""
    return _WORDS.get(_KINDS.get(error.code, ""), "not well-formed")


def limit_of(error: etree.XMLSyntaxError) -> str:
    """The limit of libxml2 that was exceeded; "": none was."""
    kind = _KINDS.get(error.code, "")
    if kind == "ERR_NAME_TOO_LONG":
        return f"a name of more than {_MAX_NAME_BYTES} bytes"
    if kind != "ERR_RESOURCE_LIMIT":
        return ""
    deep = "depth" in (error.msg or "").lower()
    return f"more than {MAX_DEPTH} levels of elements" if deep else f"a text of more than {_MAX_TEXT_BYTES} bytes"
