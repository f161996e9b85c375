"""The certificate a listener shows: ephemeral, self-signed, the same for everyone, and trusted by no one.

It only gives the TLS channel a name: its hash goes into the handshake of RULES A, where node keys sign it.
Subject and SNI are the constant ``cis.invalid`` (RFC 6761), the dates are constant and wide, so it tells an
observer nothing about the node or its clock.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

SERVER_NAME = "cis.invalid"
_NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, SERVER_NAME)])
_NOT_BEFORE = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
_NOT_AFTER = dt.datetime(2120, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its key, in memory only; ``hash`` is the SHA-256 of the DER."""

    der: bytes
    pem: bytes
    key_pem: bytes = field(repr=False)
    hash: bytes

    @classmethod
    def generate(cls) -> Certificate:
        """Make a fresh Ed25519 certificate."""
        key = Ed25519PrivateKey.generate()
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_NAME)
            .issuer_name(_NAME)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_NOT_BEFORE)
            .not_valid_after(_NOT_AFTER)
            .sign(key, None)
        )
        der = certificate.public_bytes(Encoding.DER)
        key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return cls(der, certificate.public_bytes(Encoding.PEM), key_pem, hashlib.sha256(der).digest())
