"""Certificates for signing files, issued by a certificate authority of the tests."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ORGANISATION = "Films & Tests"


def save(folder: Path, days: float = 30) -> tuple[Path, Path]:
    """Save a certificate for C2PA, valid for 30 days until in `days` days, and its key."""
    above, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = _signed("The tests' authority", above, "The tests' authority", above, days, is_ca=True)
    leaf = _signed(ORGANISATION, own, "The tests' authority", above, days, is_ca=False)
    certificate, key = folder / "c2pa.pem", folder / "c2pa.key"
    certificate.write_bytes(leaf.public_bytes(Encoding.PEM) + root.public_bytes(Encoding.PEM))
    key.write_bytes(own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate, key


def _signed(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuers_key: ec.EllipticCurvePrivateKey,
    days: float,
    *,
    is_ca: bool,
) -> x509.Certificate:
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )
    mine = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuers_key.public_key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(_named(subject))
        .issuer_name(_named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - datetime.timedelta(days=30))
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(mine, critical=False)
        .add_extension(above, critical=False)
        .add_extension(usage, critical=True)
    )
    if not is_ca:
        for_mail = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(for_mail, critical=True)
    return builder.sign(issuers_key, hashes.SHA256())


def _named(name: str) -> x509.Name:
    names = ((NameOID.COMMON_NAME, name), (NameOID.ORGANIZATION_NAME, name))
    return x509.Name([x509.NameAttribute(*pair) for pair in names])
