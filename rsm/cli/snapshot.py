"""`rsm snapshot`: what a snapshot holds, whether it is whole, taking one, and making a machine from one."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

import click

from rsm.cli.check import Report, check_snapshot
from rsm.cli.errors import FINE
from rsm.cli.options import Group, json_option, path_argument
from rsm.cli.output import count, print_json, print_line, table
from rsm.cli.reading import manifest_of, records_of
from rsm.cli.summary import torn_as_dict
from rsm.cli.target import DISK, as_files, file_bytes, load_machine
from rsm.client.open import open as open_machine
from rsm.errors import CallerError
from rsm.limits import BUCKETS
from rsm.node.network.addresses import split_address
from rsm.node.opening.restoring import restore_directory
from rsm.node.opening.reviving import revive
from rsm.node.storage.directory import read_identity
from rsm.node.storage.files import located
from rsm.node.storage.snapshots import SnapshotFiles, copy_snapshot, read_snapshot, snapshot_position
from rsm.raft.configuration import NODE_ID_MAX, Configuration, Member
from rsm.replica.replica import Replica
from rsm.replica.snapshot import restore as load_state

__all__ = ["snapshot"]

EMPTY_SUM = bytes(8)


@click.group(cls=Group)
def snapshot() -> None:
    """Look inside snapshots, take and restore them.

    DIR_OR_FILE is a machine's directory, its snapshots directory, or one snapshot file.

    \b
    Example: rsm snapshot info bank-data
    """


@snapshot.command()
@path_argument()
@json_option()
def info(path: str, as_json: bool) -> int:
    """Print what each snapshot's manifest says.

    \b
    Example: rsm snapshot info bank-data
    """
    documents = [manifest_document(file) for file in as_files(path)]
    if as_json:
        print_json({"path": path, "snapshots": documents})
        return FINE
    for document in documents:
        print_manifest(document)
    return FINE


def manifest_document(path: str) -> dict[str, Any]:
    """A manifest as JSON has it. `CorruptFile` if the first record is damaged; the rest of the file is not read."""
    _, _, group_id = snapshot_position(DISK, path)
    manifest = manifest_of(path)
    return {
        "file": path,
        "bytes": file_bytes([path]),
        "machine": manifest.machine,
        "version": manifest.version,
        "group_id": group_id,
        "index": manifest.index,
        "term": manifest.term,
        "root": manifest.root.hex(),
        "chain": manifest.chain.hex(),
        "roots": [{"index": index, "root": root.hex()} for index, root in manifest.roots],
        "events_newest": manifest.events_newest,
        "schema": manifest.schema,
        "state": {
            name: {"kind": kind, "schema": schema, "buckets_used": buckets_used(sums)}
            for name, (kind, schema, sums) in manifest.state.items()
        },
    }


def buckets_used(sums: bytes) -> int:
    """How many buckets hold something."""
    return sum(sums[8 * bucket : 8 * bucket + 8] != EMPTY_SUM for bucket in range(BUCKETS))


def print_manifest(document: dict[str, Any]) -> None:
    """The document for people."""
    print_line(document["file"])
    rows = [
        ("machine", f"{document['machine']}, version {document['version']}"),
        ("index", f"{document['index']}, term {document['term']}, group {document['group_id']}"),
        ("root", document["root"]),
        ("chain", document["chain"]),
        ("roots kept", str(len(document["roots"]))),
        ("events", f"up to number {document['events_newest']}"),
        ("bytes", f"{document['bytes']:,}"),
    ]
    table(rows, indent="  ")
    state = [
        (name, described["kind"], f"{described['buckets_used']:,}")
        for name, described in sorted(document["state"].items())
    ]
    table([("container", "kind", "buckets used"), *state], indent="  ")


@snapshot.command()
@path_argument()
@json_option()
def verify(path: str, as_json: bool) -> int:
    """Check every byte, every bucket and the root.

    The sums of buckets are recomputed from their leaves, which needs no code of the machine.

    \b
    Example: rsm snapshot verify bank-data
    """
    report = Report(path)
    for file in as_files(path):
        check_snapshot(report, file)
    return report.show(as_json=as_json)


@snapshot.command()
@click.argument("directory", metavar="DIR", type=click.Path())
@click.argument("out", metavar="[OUT]", type=click.Path(), required=False)
@click.option("--machine", metavar="MODULE:CLASS", required=True, help="The class of the machine in DIR.")
@json_option()
def save(directory: str, out: str | None, machine: str, as_json: bool) -> int:
    """Take a snapshot of the machine in DIR.

    Opens the machine, takes the snapshot there, and copies it to OUT if that is given; OUT must not exist.

    \b
    Example: rsm snapshot save bank-data bank.snapshot --machine bank:Bank
    """
    read_identity(DISK, directory)
    machine_class = load_machine(machine)
    # Handlers may print; standard output belongs to this command.
    with contextlib.redirect_stdout(sys.stderr), open_machine(machine_class, directory) as client:
        index = client.snapshot()
        path = SnapshotFiles(DISK, os.path.join(directory, "snapshots")).path_of(index)
        if out is not None:
            copy_snapshot(DISK, path, out)
    saved = path if out is None else out
    if as_json:
        print_json({"path": directory, "file": saved, "index": index, "bytes": file_bytes([saved])})
    else:
        print_line(f"{saved}: index {index}, {file_bytes([saved]):,} bytes")
    return FINE


@snapshot.command()
@click.argument("file", metavar="FILE", type=click.Path())
@click.argument("directory", metavar="DIR", type=click.Path())
@click.option("--machine", metavar="MODULE:CLASS", help="Also load the state into this class, to see that it fits.")
@click.option("--new-cluster", is_flag=True, help="DIR begins a cluster of its own (for one machine, always).")
@click.option(
    "--member",
    "members",
    metavar="ID PEER CLIENT",
    type=(click.IntRange(1, NODE_ID_MAX), str, str),
    multiple=True,
    help="With --new-cluster: a member of it, with its two addresses; once for each.",
)
@json_option()
def restore(
    file: str,
    directory: str,
    machine: str | None,
    new_cluster: bool,
    members: tuple[tuple[int, str, str], ...],
    as_json: bool,
) -> int:
    """Make a machine's directory from a snapshot.

    The snapshot is verified on the way. DIR must be empty or not exist; it gets a new cluster id, and a log that
    begins after the snapshot.

    With --new-cluster and --member DIR is that of a node, for a cluster that has lost its quorum for good. FILE may
    then be the directory of a node: its log after the snapshot is kept too. The last index kept is told. Copy DIR to
    every member, then start them; nodes of the old cluster are refused.

    \b
    Example: rsm snapshot restore bank.snapshot bank-copy
    """
    if members and not new_cluster:
        raise click.UsageError("--member goes with --new-cluster.")
    machine_class = None if machine is None else load_machine(machine)
    if members:
        if machine_class is not None:
            raise click.UsageError("--machine does not go with --member: the node checks its class when it starts.")
        return restore_cluster(file, directory, members, as_json=as_json)
    as_files(file)
    index, term, group_id = snapshot_position(DISK, file)
    with located(file, 0):
        if machine_class is not None:
            load_state(Replica(machine_class), read_snapshot(DISK, file))
        records = records_of(file, "restoring")
        identity, contents = restore_directory(DISK, records, directory, index=index, term=term, group_id=group_id)
    manifest = contents.manifest
    document = {
        "path": directory,
        "machine": manifest.machine,
        "version": manifest.version,
        "index": index,
        "term": term,
        "root": manifest.root.hex(),
        "cluster_id": identity.cluster_id.hex(),
        "leaves": contents.leaves,
    }
    if as_json:
        print_json(document)
    else:
        values = count(sum(contents.leaves.values()), "value")
        print_line(f"{directory}: {manifest.machine} at index {index}, {values}")
    return FINE


def restore_cluster(source: str, directory: str, members: tuple[tuple[int, str, str], ...], *, as_json: bool) -> int:
    """The directory of a node of a new cluster, and what to say about it."""
    for _, *addresses in members:
        for address in addresses:
            split_address(address)
    if len({number for number, _, _ in members}) != len(members):
        raise CallerError("two members have the same ID")
    if not os.path.isdir(source):
        as_files(source)
    made = revive(DISK, source, directory, Configuration(tuple(Member(*one) for one in sorted(members))))
    numbers = [number for number, _, _ in sorted(members)]
    if as_json:
        print_json(
            {
                "path": directory,
                "machine": made.machine,
                "cluster_id": made.cluster_id.hex(),
                "snapshot_index": made.snapshot_index,
                "last_index": made.last_index,
                "last_term": made.last_term,
                "torn": torn_as_dict(made.torn),
                "members": numbers,
            }
        )
        return FINE
    print_line(f"{directory}: {made.machine}, cluster {made.cluster_id.hex()}")
    print_line(f"kept: everything up to index {made.last_index} of term {made.last_term}; what came later is lost")
    print_line(f"members: {', '.join(map(str, numbers))}; copy {directory} to each of them before they start")
    return FINE
