"""A certificate authority for tests and first steps: one CA, and certificates that name a role and its owner.

Keys are EC P-256. A certificate's organizational unit is the role and its common name the owner
(`rsm.node.network.tls`); its host names are those of this machine, for tools that look at them. Whoever has the CA's
key can make members: a real deployment keeps it elsewhere, or brings certificates of its own of the same shape.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
from collections.abc import Sequence
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rsm.errors import CallerError, StorageError
from rsm.limits import MEMBERS_MAX
from rsm.node.network.tls import ROLE_ADMIN, ROLE_CLIENT, ROLE_OBSERVER, ROLE_PEER, node_name

__all__ = ["Made", "init_certificates"]

ORGANIZATION: Final = "rsm"
# One of what may be asked for, beside the nodes.
OWNERS_MAX: Final = 64
NAME_CHARACTERS_MAX: Final = 64  # of a common name (X.520, ub-common-name)
YEARS_OF_CA: Final = 10
# Test certificates end before anybody has forgotten where they came from.
DAYS: Final = 825
# A clock that is behind must not refuse what was made a moment ago.
BEFORE: Final = datetime.timedelta(hours=1)


class Made(msgspec.Struct, frozen=True):
    """A certificate and its key, as files."""

    role: str
    name: str
    certificate: str
    key: str


def init_certificates(
    directory: str,
    *,
    nodes: int,
    clients: Sequence[str] = (),
    admins: Sequence[str] = (),
    observers: Sequence[str] = (),
    hosts: Sequence[str] = (),
) -> list[Made]:
    """Make a CA, and certificates for nodes 1 to `nodes` and for other owners; the CA is the first of the list.

    `hosts`: names or addresses for the certificates of the nodes, beside those of this machine. Nothing is written if
    one of the files exists (`CallerError`). `StorageError` if the disk says no.
    """
    if not 1 <= nodes <= MEMBERS_MAX:
        raise CallerError(f"nodes must be 1 to {MEMBERS_MAX}")
    owners = [(ROLE_PEER, node_name(number)) for number in range(1, nodes + 1)]
    owners += [(ROLE_CLIENT, name) for name in clients] + [(ROLE_ADMIN, name) for name in admins]
    owners += [(ROLE_OBSERVER, name) for name in observers]
    names = ["ca", *(name for _, name in owners)]
    _check_names(names, nodes)
    sites = [_host(host) for host in dict.fromkeys(["localhost", "127.0.0.1", "::1", *hosts])]
    made = [
        Made(role, name, os.path.join(directory, f"{name}.crt"), os.path.join(directory, f"{name}.key"))
        for (role, name) in [("ca", "ca"), *owners]
    ]
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        for path in (path for one in made for path in (one.certificate, one.key)):
            if os.path.lexists(path):
                raise CallerError(f"{path} exists already; nothing was written")
        _write_all(made, sites)
    except OSError as error:
        raise StorageError(f"{error.filename or directory}: {error.strerror}") from error
    return made


def _check_names(names: list[str], nodes: int) -> None:
    if len(names) > nodes + OWNERS_MAX:
        raise CallerError(f"more than {OWNERS_MAX} clients, administrators and observers")
    for name in names:
        is_plain = name.isascii() and name.replace("-", "").replace("_", "").replace(".", "").isalnum()
        if not is_plain or name.startswith((".", "-")) or len(name) > NAME_CHARACTERS_MAX:
            raise CallerError(f"{name!r} cannot be a name here: letters, digits, '-', '_' and '.', up to 64 of them")
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled is not None:
        raise CallerError(f"two certificates would be named {doubled!r}")


def _write_all(made: list[Made], sites: list[x509.GeneralName]) -> None:
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = _ca_certificate(ca_key)
    for one in made:
        key = ca_key if one.role == "ca" else ec.generate_private_key(ec.SECP256R1())
        certificate = ca if one.role == "ca" else _certificate(one, key.public_key(), ca, ca_key, sites)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        _write(one.key, pem, 0o600)
        _write(one.certificate, certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _write(path: str, data: bytes, mode: int) -> None:
    # O_EXCL: between the check and this, nobody may have put a file there, or a link to one.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise


def _subject(role: str, name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, role),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, valid: datetime.timedelta
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BEFORE)
        .not_valid_after(now + valid)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _key_usage(*, is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _ca_certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    # Random in the name: certificates of two CAs that were made this way must not look alike.
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION),
            x509.NameAttribute(NameOID.COMMON_NAME, f"rsm test CA {os.urandom(4).hex()}"),
        ]
    )
    return (
        _builder(name, name, key.public_key(), datetime.timedelta(days=365 * YEARS_OF_CA))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(is_ca=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _certificate(
    one: Made,
    public_key: ec.EllipticCurvePublicKey,
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    sites: list[x509.GeneralName],
) -> x509.Certificate:
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if one.role == ROLE_PEER:
        usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
    builder = (
        _builder(_subject(one.role, one.name), ca.subject, public_key, datetime.timedelta(days=DAYS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(is_ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    if one.role == ROLE_PEER:
        builder = builder.add_extension(x509.SubjectAlternativeName(sites), critical=False)
    return builder.sign(ca_key, hashes.SHA256())


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError as error:
        raise CallerError(f"{host!r} is neither a host name nor an address") from error
