"""Secrets as certificates: what is a pair, and the words for what is none. No word of a key is ever in them."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from bench.peers.origin import certificate
from hypothesis import given
from hypothesis import strategies as st

from daemun_kubernetes.client.kinds import Metadata, Secret
from daemun_kubernetes.view.secrets import Pair, pair_of

KEY = ("shop", "cert")


def pem(label: str, body: bytes = b"\x30\x03secret") -> bytes:
    return b"-----BEGIN %s-----\n%s-----END %s-----\n" % (label.encode(), base64.encodebytes(body), label.encode())


CERTIFICATE, PRIVATE = pem("CERTIFICATE"), pem("PRIVATE KEY")


def secret(
    certificate: bytes | None = CERTIFICATE, key: bytes | None = PRIVATE, kind: str = "kubernetes.io/tls"
) -> Secret:
    data = {name: value for name, value in (("tls.crt", certificate), ("tls.key", key)) if value is not None}
    return Secret(metadata=Metadata(name="cert", namespace="shop"), type=kind, data=data)


def test_a_real_pair_is_taken_as_it_is(tmp_path: Path) -> None:
    if reason := certificate(tmp_path / "chain.pem", tmp_path / "key.pem"):
        pytest.skip(reason)
    chain, key = (tmp_path / "chain.pem").read_bytes(), (tmp_path / "key.pem").read_bytes()
    pair = pair_of(KEY, secret(chain + chain, key))
    assert (pair.certificate, pair.key, pair.error) == ((chain + chain).decode(), key.decode(), "")


@pytest.mark.parametrize("label", ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"])
def test_every_usual_form_of_a_key_is_taken_parameters_before_it_too(label: str) -> None:
    assert not pair_of(KEY, secret(key=pem("EC PARAMETERS") + pem(label).replace(b"\n", b"\r\n"))).error


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (secret(kind="Opaque"), "secret shop/cert is of type 'Opaque'; accepted: kubernetes.io/tls"),
        (secret(certificate=None), "secret shop/cert has no tls.crt"),
        (secret(key=b""), "secret shop/cert has no tls.key"),
        (secret(certificate=b"hello"), "secret shop/cert: tls.crt holds no certificate in PEM"),
        (secret(certificate=PRIVATE), "secret shop/cert: tls.crt holds no certificate in PEM"),
        (secret(key=CERTIFICATE), "secret shop/cert: tls.key holds no private key in PEM"),
        (secret(key=b"\xff\xfe"), "secret shop/cert: tls.key holds no private key in PEM"),
        (
            secret(certificate=CERTIFICATE + CERTIFICATE.replace(b"MA", b"!!")),
            "secret shop/cert: tls.crt is no PEM: a certificate cannot be decoded",
        ),
        (secret(key=pem("PRIVATE KEY", b"secret")), "secret shop/cert: tls.key is no PEM: the key cannot be decoded"),
        (
            secret(key=pem("ENCRYPTED PRIVATE KEY")),
            "secret shop/cert: tls.key is encrypted; accepted: a key without a passphrase",
        ),
        (
            secret(key=pem("RSA PRIVATE KEY").replace(b"-----\n", b"-----\nProc-Type: 4,ENCRYPTED\n\n", 1)),
            "secret shop/cert: tls.key is encrypted; accepted: a key without a passphrase",
        ),
    ],
)
def test_what_is_no_pair_says_why(found: Secret, words: str) -> None:
    assert pair_of(KEY, found) == Pair(error=words)


def test_a_secret_that_is_not_there_is_missing() -> None:
    assert pair_of(KEY, None) == Pair(error="secret shop/cert not found", missing=True)


def test_a_key_is_not_shown() -> None:
    assert "BEGIN" not in repr(pair_of(KEY, secret()))


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_whatever_a_secret_holds_it_is_a_pair_or_it_has_words(chain: bytes, key: bytes) -> None:
    pair = pair_of(KEY, secret(chain, key))
    assert pair.error
    assert (pair.certificate, pair.key) == ("", "")


@given(st.data())
def test_one_changed_byte_never_raises(data: st.DataObject) -> None:
    whole = bytearray(PRIVATE)
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    pair = pair_of(KEY, secret(key=bytes(whole)))
    assert bool(pair.error) != bool(pair.key)
