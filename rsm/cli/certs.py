"""`rsm certs`: a test CA, and certificates for the nodes and clients of a cluster."""

from __future__ import annotations

import click

from rsm.cli.errors import FINE
from rsm.cli.options import Group, json_option
from rsm.cli.output import count, print_json, print_line, table
from rsm.limits import MEMBERS_MAX

__all__ = ["certs"]


@click.group(cls=Group)
def certs() -> None:
    """Make certificates for a cluster with TLS.

    \b
    Example: rsm certs init --dir certs
    """


@certs.command()
@click.option("--dir", "directory", metavar="DIR", type=click.Path(), required=True, help="Where the files go.")
@click.option(
    "--nodes",
    metavar="N",
    type=click.IntRange(1, MEMBERS_MAX),
    default=3,
    show_default=True,
    help="Certificates for nodes 1 to N; make some more than there are, to add members later.",
)
@click.option("--client", "clients", metavar="NAME", multiple=True, help="A client's certificate; may be repeated.")
@click.option("--admin", "admins", metavar="NAME", multiple=True, help="An administrator's; may be repeated.")
@click.option("--observer", "observers", metavar="NAME", multiple=True, help="An observer's; may be repeated.")
@click.option(
    "--host", "hosts", metavar="HOST", multiple=True, help="A host of the nodes, beside this machine's names."
)
@json_option()
def init(
    directory: str,
    nodes: int,
    clients: tuple[str, ...],
    admins: tuple[str, ...],
    observers: tuple[str, ...],
    hosts: tuple[str, ...],
    as_json: bool,
) -> int:
    """Make a test CA and certificates signed by it.

    Writes NAME.crt and NAME.key for the CA (ca), each node (node-1, ...), client, administrator and observer. The name
    in a client's certificate is its principal. No file is overwritten. Whoever has ca.key can make members.

    \b
    Example: rsm certs init --dir certs --nodes 3 --client ann --admin operator
    """
    # Imported here, so that other commands need not wait for the cryptography.
    from rsm.node.network.certificates import init_certificates

    made = init_certificates(directory, nodes=nodes, clients=clients, admins=admins, observers=observers, hosts=hosts)
    if as_json:
        rows = [{"role": one.role, "name": one.name, "certificate": one.certificate, "key": one.key} for one in made]
        print_json({"path": directory, "certificates": rows})
        return FINE
    table([("role", "name", "certificate", "key"), *((one.role, one.name, one.certificate, one.key) for one in made)])
    print_line(f"{directory}: {count(len(made), 'certificate')} with keys")
    return FINE
