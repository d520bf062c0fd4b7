"""Who may speak: mutual TLS 1.3, and the role that a certificate gives its owner.

That our CA signed a certificate is not enough: a client's certificate must not open the port of the members (Nomad's
CVE-2021-37218). So the subject says both who and what: the organizational unit is the role, the common name the name,
for a member `node-<id>`. Host names are not checked; a member is known by its number, wherever it runs.

`TlsSession` is TLS without a socket, bytes in and bytes out. asyncio's own TLS tells a protocol of a connection only
after the handshake, so that half-open ones could be neither counted nor refused, and keeps the reason of a failure to
itself.
"""

from __future__ import annotations

import ssl
from typing import Any, Final

import msgspec

from rsm.errors import BadBytes, CallerError
from rsm.node.network.addresses import is_loopback, split_address

__all__ = [
    "ROLE_ADMIN",
    "ROLE_CLIENT",
    "ROLE_OBSERVER",
    "ROLE_PEER",
    "Owner",
    "TlsOptions",
    "TlsSession",
    "check_listen",
    "node_name",
    "owner_of",
]

ROLE_PEER: Final = "peer"
ROLE_CLIENT: Final = "client"
ROLE_ADMIN: Final = "admin"
ROLE_OBSERVER: Final = "observer"
ROLES: Final = frozenset({ROLE_PEER, ROLE_CLIENT, ROLE_ADMIN, ROLE_OBSERVER})

# One TLS record's worth and more; what OpenSSL gives at once is never above 16 KiB.
DECRYPT_BYTES: Final = 64 * 1024

# What OpenSSL calls it, and what it means to somebody who has to repair it.
_MEANINGS: Final = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it showed no certificate",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the other side wants a certificate, and none was shown",
    "TLSV1_ALERT_UNKNOWN_CA": "the other side does not know the CA that signed our certificate",
    "TLSV1_ALERT_DECRYPT_ERROR": "the other side does not know the CA that signed our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "our certificate has expired, says the other side",
    "SSLV3_ALERT_BAD_CERTIFICATE": "our certificate is bad, says the other side",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "our certificate is not meant for this, says the other side",
    "WRONG_VERSION_NUMBER": "it does not speak TLS",
    "RECORD_LAYER_FAILURE": "it does not speak TLS",
    "HTTP_REQUEST": "it speaks HTTP, not TLS",
    "UNSUPPORTED_PROTOCOL": "it does not speak TLS 1.3",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the other side does not speak TLS 1.3",
}


class Owner(msgspec.Struct, frozen=True):
    """Whom a certificate belongs to: one of `ROLES`, and a name."""

    role: str
    name: str


class TlsOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Paths of PEM files: the CA that must have signed the other side's certificate, our certificate, and its key."""

    ca: str
    certificate: str
    key: str

    def server_context(self) -> ssl.SSLContext:
        """For a port: the other side must show a certificate. `CallerError` if a file cannot be used."""
        return self._context(ssl.PROTOCOL_TLS_SERVER)

    def client_context(self) -> ssl.SSLContext:
        """For dialing. `CallerError` if a file cannot be used."""
        return self._context(ssl.PROTOCOL_TLS_CLIENT)

    def _context(self, purpose: int) -> ssl.SSLContext:
        context = ssl.SSLContext(purpose)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        if purpose == ssl.PROTOCOL_TLS_SERVER:
            # A resumed session would skip the look at the certificate, and nobody redials often enough to gain by it.
            context.num_tickets = 0
        try:
            context.load_verify_locations(cafile=self.ca)
        except (OSError, ValueError) as error:
            raise CallerError(f"cannot use the CA {self.ca}: {_file_reason(error)}") from error
        try:
            # Without a password function OpenSSL would ask on the terminal.
            context.load_cert_chain(self.certificate, self.key, password=_no_password)
        except (OSError, ValueError) as error:
            where = f"the certificate {self.certificate} with the key {self.key}"
            raise CallerError(f"cannot use {where}: {_file_reason(error)}") from error
        return context


def _no_password() -> str:
    raise ValueError("the key is encrypted; rsm reads keys without a password")


def _file_reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not a PEM file of this kind").lower().replace("_", " ")
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)


class TlsSession:
    """One side of one connection. What the socket gave goes into `receive`; `take` gives what the socket must send."""

    def __init__(self, context: ssl.SSLContext, *, server_side: bool) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=server_side)
        self.is_shaken = False

    def receive(self, data: bytes) -> bytes:
        """What the other side sent, decrypted; `BadBytes` with the reason if it is not to be trusted.

        The dialing side begins with a call without data, since it speaks first.
        """
        self._incoming.write(data)
        if not self.is_shaken and not self._advance():
            return b""
        parts = []
        try:
            while part := self._object.read(DECRYPT_BYTES):
                parts.append(part)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            if not isinstance(error, ssl.SSLZeroReturnError):
                raise BadBytes(_reason(error)) from error
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _advance(self) -> bool:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            raise BadBytes(_reason(error)) from error
        self.is_shaken = True
        return True

    def send(self, data: bytes) -> None:
        """Encrypt; only once `is_shaken`. `BadBytes` if the session is broken."""
        try:
            self._object.write(data)
        except ssl.SSLError as error:
            raise BadBytes(_reason(error)) from error

    def take(self) -> bytes:
        """The bytes that wait for the socket."""
        return self._outgoing.read()

    def close(self) -> None:
        """Say goodbye, so that the other side can tell an end from a cut."""
        try:
            self._object.unwrap()
        except (ssl.SSLError, ValueError):
            return  # it waits for the other goodbye, which nobody needs

    @property
    def owner(self) -> Owner:
        """Whom the other side's certificate belongs to; `BadBytes` if it does not say so in our way."""
        return owner_of(self._object.getpeercert())


def _reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not one of our CA: {error.verify_message}"
    reason = error.reason or str(error)
    return _MEANINGS.get(reason, f"TLS: {reason.lower().replace('_', ' ')}")


def owner_of(certificate: Any) -> Owner:
    """The owner that a certificate, as `ssl` describes it, names; `BadBytes` unless it has one role and one name."""
    fields = [field for group in (certificate or {}).get("subject", ()) for field in group]
    roles = [value for key, value in fields if key == "organizationalUnitName"]
    names = [value for key, value in fields if key == "commonName"]
    if len(roles) != 1 or len(names) != 1 or roles[0] not in ROLES:
        raise BadBytes(f"its certificate has no role of rsm (subject {fields!r:.200})")
    return Owner(roles[0], names[0])


def node_name(node_id: int) -> str:
    """The common name in the certificate of a member."""
    return f"node-{node_id}"


def check_listen(address: str, tls: TlsOptions | None, insecure: bool) -> None:
    """`CallerError` for a port that anybody on the network could speak to: neither TLS, nor loopback, nor meant so."""
    host, _ = split_address(address)
    if tls is None and not insecure and not is_loopback(host):
        raise CallerError(
            f"{address} can be reached by other machines: give it TLS (rsm certs init makes test certificates) "
            "or allow it with insecure"
        )
