"""A node's configuration: what is written reads back, and what is wrong is one line that names file, key and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsm.errors import CallerError
from rsm.node.config import (
    ClusterSection,
    LimitsSection,
    LogSection,
    MemberConfig,
    NodeConfig,
    NodeSection,
    encode_toml,
    load_config,
    load_toml,
    write_config,
)
from rsm.node.network.tls import TlsOptions
from tests.documents import ROOT, blocks

GOOD = """
[node]
id = 1
directory = "node-1"
peer_listen = "127.0.0.1:7001"
client_listen = "127.0.0.1:8001"

[cluster]
members = [
    {id = 1, peer = "127.0.0.1:7001", client = "127.0.0.1:8001"},
    {id = 2, peer = "127.0.0.1:7002", client = "127.0.0.1:8002"},
]
"""


def write(directory: Path, text: str) -> str:
    path = directory / "node.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_what_is_left_out_has_a_default(tmp_path: Path) -> None:
    """The least file gives a durable node that logs JSON, and its directory lies beside the file."""
    config = load_config(write(tmp_path, GOOD))
    assert config.node.directory == str(tmp_path / "node-1")
    assert (config.node.web_listen, config.node.machine, config.node.insecure, config.tls) == (None, None, False, None)
    assert (config.limits.durability, config.log.format, config.log.level) == ("fsync", "json", "info")
    assert [member.id for member in config.cluster.members] == [1, 2]


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    """Every section survives writing and reading, and paths below the file's directory are written relative to it."""
    config = NodeConfig(
        node=NodeSection(
            id=3,
            directory=str(tmp_path / "node-3"),
            peer_listen="127.0.0.1:1",
            client_listen="[::1]:2",
            web_listen="127.0.0.1:0",
            machine="bank:Bank",
            insecure=True,
        ),
        cluster=ClusterSection(
            members=(MemberConfig(id=3, peer="a.example:1", client="a.example:2"),), name='a "b" \\ \x7f', id="ab" * 16
        ),
        tls=TlsOptions(ca=str(tmp_path / "ca.pem"), certificate="/else/where.pem", key=str(tmp_path / "tls" / "k.pem")),
        limits=LimitsSection(durability="os", snapshot_log_bytes=7, heartbeat_seconds=0.05),
        log=LogSection(format="console", level="debug"),
    )
    path = str(tmp_path / "node.toml")
    write_config(path, config)
    assert load_config(path) == config
    text = Path(path).read_text(encoding="utf-8")
    assert 'directory = "node-3"' in text
    assert 'ca = "ca.pem"' in text
    assert "election" not in text


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("id = 1\n", "id = 1\nport = 3\n", ["[node] 'port' is not known; allowed: id, directory"]),
        ("[cluster]", "[custer]", ["'custer' is not known; allowed: node, cluster, tls, limits, log"]),
        ("client = ", "klient = ", ["[cluster.members] 'klient' is not known; allowed: id, peer, client"]),
        ('directory = "node-1"\n', "", ["[node] 'directory' is missing"]),
        ("id = 1\n", 'id = "1"\n', ["node.id: expected `int`, got `str`"]),
        ("id = 1\n", "id = 0\n", ["node.id: expected `int` >= 1"]),
        ("id = 1\n", "id = true\n", ["node.id: expected `int`, got `bool`"]),
        ("{id = 2,", "{id = 1,", ["cluster.members names node 1 twice"]),
        ('"127.0.0.1:7001"\n', '"127.0.0.1"\n', ["node.peer_listen: '127.0.0.1' is not an address", "HOST:PORT"]),
        ('peer = "127.0.0.1:7002"', 'peer = "x:70000"', ["cluster.members[1].peer: 'x:70000' is not an address"]),
        ('"127.0.0.1:7001"\n', '"0.0.0.0:7001"\n', ["node.peer_listen: 0.0.0.0:7001", "insecure"]),
        ("id = 1\n", 'id = 1\nweb_listen = "0.0.0.0:80"\n', ["node.web_listen: 0.0.0.0:80 can be reached", "insecure"]),
        ("[cluster]", "[limits]\ndurability = 'none'\n[cluster]", ["limits.durability: invalid enum value 'none'"]),
        ("[cluster]", "[limits]\nheartbeat_seconds = 0.6\n[cluster]", ["heartbeat_seconds (0.6) must be below"]),
        ("[cluster]", "[tls]\nca = 'x'\n[cluster]", ["[tls] 'certificate' is missing"]),
        ("[cluster]", "[cluster]\nid = 'xyz'\n", ["cluster.id: expected 32 hex digits, got 'xyz'"]),
        ("[cluster]", "[[cluster", ["is not TOML"]),
        ("[node]", "node = 3\n[other]", ["'other' is not known"]),
        ("[cluster]\n", "[cluster]\nname = 3\n", ["cluster.name: expected `str`, got `int`"]),
    ],
)
def test_what_is_wrong_is_one_line(old: str, new: str, words: list[str], tmp_path: Path) -> None:
    """An unknown, missing or mistyped key, and values that cannot work together, are named with what is allowed."""
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(CallerError) as caught:
        load_config(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    for word in words:
        assert word in text


def test_the_file_in_the_documents_is_right(tmp_path: Path) -> None:
    """The configuration that docs/operating.md shows can be read, names every key, and shows the defaults."""
    (text,) = [block.text for block in blocks(ROOT / "docs" / "operating.md") if block.language == "toml"]
    config = load_config(write(tmp_path, text))
    assert config.limits == LimitsSection()
    assert config.log == LogSection()
    for section in (NodeSection, ClusterSection, MemberConfig, TlsOptions, LimitsSection, LogSection):
        for field in section.__struct_fields__:
            assert f"{field} = " in text


def test_a_file_that_is_none(tmp_path: Path) -> None:
    """A missing file, a directory, bytes and something huge are each refused by name."""
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    (tmp_path / "huge").write_bytes(b"#" * 300_000)
    for name, words in (
        ("none", "cannot be read: No such file"),
        (".", "cannot be read: Is a directory"),
        ("bytes", "is not TOML"),
        ("huge", "is larger than"),
    ):
        with pytest.raises(CallerError, match=words):
            load_config(str(tmp_path / name))


def test_insecure_must_be_said(tmp_path: Path) -> None:
    """Plaintext beyond loopback is accepted only with insecure = true, or not at all needed with TLS."""
    open_text = GOOD.replace('"127.0.0.1:7001"\n', '"0.0.0.0:7001"\n')
    assert load_config(write(tmp_path, open_text.replace("id = 1\n", "id = 1\ninsecure = true\n"))).node.insecure
    tls = "[tls]\nca = 'a'\ncertificate = 'b'\nkey = 'c'\n[cluster]"
    config = load_config(write(tmp_path, open_text.replace("[cluster]", tls)))
    assert config.tls is not None
    # The web port has no TLS, whatever the others have.
    with_web = GOOD.replace("[cluster]", tls).replace("id = 1\n", 'id = 1\nweb_listen = "0.0.0.0:9001"\n')
    with pytest.raises(CallerError, match="web_listen"):
        load_config(write(tmp_path, with_web))
    allowed = with_web.replace("id = 1\n", "id = 1\ninsecure = true\n")
    assert load_config(write(tmp_path, allowed)).node.web_listen == "0.0.0.0:9001"
    assert config.tls.key == str(tmp_path / "c")


plain = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.lists(st.integers(0, 9), max_size=3),
)
keys = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
rows = st.lists(st.dictionaries(keys, plain, min_size=1, max_size=3), min_size=1, max_size=3)


@given(tables=st.dictionaries(keys, st.dictionaries(keys, plain | rows, max_size=3), max_size=3))
def test_toml_of_any_plain_values_reads_back(tables: dict[str, dict[str, object]]) -> None:
    """Whatever text, number or list is written comes back as it was."""
    import tomllib

    assert tomllib.loads(encode_toml(tables)) == tables


def test_tables_of_other_programs_can_be_read(tmp_path: Path) -> None:
    """`load_toml` gives plain tables without judging them."""
    assert load_toml(write(tmp_path, "[a]\nb = [1, 2]\n")) == {"a": {"b": [1, 2]}}
