"""`rsm certs init`: what it makes is what TLS between members and clients accepts, and it never overwrites."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from rsm.node.network.tls import TlsOptions
from tests.unit.cli.samples import run


def attribute(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> str:
    """The one value of an attribute of the subject."""
    (found,) = certificate.subject.get_attributes_for_oid(oid)
    return str(found.value)


def test_it_makes_a_ca_and_what_it_signs(tmp_path: Path) -> None:
    """Roles, names, host names and signatures are right; keys are P-256 and for their owner only."""
    directory = tmp_path / "certs"
    ran = run(
        "certs", "init", "--dir", directory, "--nodes", 2, "--client", "ann", "--admin", "op", "--host", "10.0.0.7"
    )
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[-1] == f"{directory}: 5 certificates with keys"
    ca = x509.load_pem_x509_certificate((directory / "ca.crt").read_bytes())
    roles = {"node-1": "peer", "node-2": "peer", "ann": "client", "op": "admin"}
    assert {path.name for path in directory.iterdir()} == {
        f"{n}.{end}" for n in ["ca", *roles] for end in ("crt", "key")
    }
    for name, role in roles.items():
        certificate = x509.load_pem_x509_certificate((directory / f"{name}.crt").read_bytes())
        certificate.verify_directly_issued_by(ca)
        assert attribute(certificate, NameOID.COMMON_NAME) == name
        assert attribute(certificate, NameOID.ORGANIZATIONAL_UNIT_NAME) == role
        key = certificate.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert key.curve.name == "secp256r1"
        assert stat.S_IMODE((directory / f"{name}.key").stat().st_mode) == 0o600
        TlsOptions(
            str(directory / "ca.crt"), str(directory / f"{name}.crt"), str(directory / f"{name}.key")
        ).client_context()
        if role == "peer":
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            assert names.get_values_for_type(x509.DNSName) == ["localhost"]
            addresses = names.get_values_for_type(x509.IPAddress)
            assert [str(address) for address in addresses] == ["127.0.0.1", "::1", "10.0.0.7"]
    assert stat.S_IMODE((directory / "ca.key").stat().st_mode) == 0o600


def test_json_lists_what_was_made(tmp_path: Path) -> None:
    """--json prints one document with the files of each owner."""
    ran = run("certs", "init", "--dir", tmp_path / "certs", "--nodes", 1, "--json")
    rows = json.loads(ran.out)["certificates"]
    assert [(row["role"], row["name"]) for row in rows] == [("ca", "ca"), ("peer", "node-1")]
    assert all(Path(row["certificate"]).is_file() and Path(row["key"]).is_file() for row in rows)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """One file that is there already, were it a dangling link, and nothing is written."""
    (tmp_path / "node-3.key").symlink_to(tmp_path / "nowhere")
    ran = run("certs", "init", "--dir", tmp_path)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == f"rsm: {tmp_path / 'node-3.key'} exists already; nothing was written\n"
    assert [path.name for path in tmp_path.iterdir()] == ["node-3.key"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--nodes", "0"], "'--nodes': 0 is not in the range"),
        (["--client", "../ann"], "'../ann' cannot be a name"),
        (["--client", ""], "'' cannot be a name"),
        (["--client", "node-2"], "two certificates would be named 'node-2'"),
        (["--admin", "ca"], "two certificates would be named 'ca'"),
        (["--client", "x" * 65], "up to 64"),
        (["--host", "näme"], "neither a host name nor an address"),
        ([word for number in range(65) for word in ("--client", f"c{number}")], "more than 64"),
    ],
)
def test_wrong_options_are_one_line(options: list[str], words: str, tmp_path: Path) -> None:
    """What cannot be made is refused before a file is written."""
    ran = run("certs", "init", "--dir", tmp_path / "certs", *options)
    assert ran.code == 2
    assert words in ran.err
    assert len(ran.err.splitlines()) == 1
    assert not (tmp_path / "certs").exists()


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    """The disk's own refusal is one line with the path."""
    (tmp_path / "file").write_bytes(b"")
    ran = run("certs", "init", "--dir", tmp_path / "file" / "certs")
    assert ran.code == 2
    assert ran.err == f"rsm: {tmp_path / 'file' / 'certs'}: Not a directory\n"
