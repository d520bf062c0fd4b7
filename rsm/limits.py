"""Every bound of rsm: one constant each, its reason, and a precedent where there is one.

Reaching a bound is always a named error (`LimitExceeded`, `Busy`, `BadBytes`, `EventsGap`), never silence.
"""

from __future__ import annotations

from typing import Final

# --- bytes that are decoded -----------------------------------------------------------------------------------------

# One Raft entry. etcd's default request limit is 1.5 MiB; a batch carries many commands, and one of
# the largest. Decoded, hostile bytes take some sixty times their size.
ENTRY_BYTES_MAX: Final = 3 * 1024 * 1024
# One command as its client encoded it. A command is a decision, not a file (etcd: 1.5 MiB, Consul: 512 KiB).
COMMAND_BYTES_MAX: Final = 1024 * 1024
# Nesting of values inside a command. No schema that msgspec validates needs more; 16 stops stack games
# (facts/hardening).
NESTING_DEPTH_MAX: Final = 16
# Nesting of a batch: its own arrays, the item, the values as deep as they may be, and a pipeline's references in these.
BATCH_DEPTH_MAX: Final = NESTING_DEPTH_MAX + 8

# --- batches --------------------------------------------------------------------------------------------------------

# Commands in one entry: enough to amortise one fdatasync to under a microsecond each, small enough to keep a batch
# under about ten milliseconds of apply time.
BATCH_COMMANDS_MAX: Final = 1024
# Bytes of commands in one entry; leaves room for the head within ENTRY_BYTES_MAX.
BATCH_BYTES_MAX: Final = 1024 * 1024
# Commands in one pipeline: it is one atomic step and its rollback scope lives in memory.
PIPELINE_STEPS_MAX: Final = 256
# Commands that one upcaster splits an old one into, and all that one old command becomes, through however many
# splits: it is one atomic step, as a pipeline is.
UPCAST_PARTS_MAX: Final = 64

# --- state ----------------------------------------------------------------------------------------------------------

# Buckets per container: at a million keys a bucket holds about a thousand, one snapshot slice of well under a
# millisecond. A power of two; part of the format.
BUCKETS: Final = 1024

# --- agreement ------------------------------------------------------------------------------------------------------

# A state root is taken at every index divisible by this (Raft entries, not commands).
HASH_INTERVAL_ENTRIES: Final = 64
# Roots a replica keeps, and a manifest carries, for late comparison.
ROOTS_KEPT: Final = 64
# Leaves recomputed at every hash point: about a tenth of a millisecond. A state of n leaves is scrubbed within
# n / SCRUB_LEAVES_MIN (rounded up) + 1 hash points: the scrub period.
SCRUB_LEAVES_MIN: Final = 256
# Leaves of a container whose hashes may be put off to the next root; more are hashed at the end of their batch. It
# bounds the old values that are held meanwhile, and how long a root can take.
UNHASHED_LEAVES_MAX: Final = 8192
# Roots that a replica keeps on disk, 64 bytes each, for whoever compares logs later: those of a million entries.
ROOT_BOOK_RECORDS_MAX: Final = 16_384
# Of these, as many are read at a time while a node serves: some milliseconds of its loop.
ROOT_BOOK_PART_RECORDS: Final = 1024
# How long, in log time, voters have to say what their root at a disputed index was.
ATTEST_SECONDS: Final = 5
# How long, in log time, they have to run the log again where no majority had one root.
REEXECUTE_SECONDS: Final = 60
# Disputed hash points that are remembered, in memory and in snapshots; about a kilobyte each.
CASES_KEPT: Final = 16
# Text with which a voter says that it does not trust its own state.
FAULT_LENGTH_MAX: Final = 500
# Digest of a machine's code in hexadecimal: SHA-256, or shorter.
CODE_DIGEST_LENGTH_MAX: Final = 64
# Roots that a node's status shows, the newest ones.
ROOTS_SHOWN: Final = 16
# Releases of a machine that a node tells its peers about; nobody ships so many.
RELEASES_MAX: Final = 64
# Modules of one package that the digest of a machine's code reads.
CODE_MODULES_MAX: Final = 1000
# A node repeats its word so often, in seconds, until it is in the log.
ATTEST_RETRY_SECONDS: Final = 1.0
# A node that a confirmed root contradicts waits so long for the verdict before it quarantines itself all the same.
SUSPECT_SECONDS_MAX: Final = 10.0
# A restarted node holds reads back so long for a first root to be compared; then it serves, and says `unchecked`.
UNCHECKED_SECONDS_MAX: Final = 3.0
# Log that a node runs again between two looks at its messages: some ten milliseconds.
REEXECUTION_SLICE_BYTES: Final = 32 * 1024
# What a node that stands still until somebody mends it leaves free on its disk: several times what it needs to start
# again, or to install a snapshot of which the log is as long as usual.
FREE_BYTES_MIN: Final = 256 * 1024 * 1024
# Directories of evidence that a node keeps; the first ones stay, since they show how it began.
EVIDENCE_KEPT: Final = 8
# Snapshots that a playback keeps in memory to go back to; when there are more, every second one goes.
PLAYBACK_SNAPSHOTS_MAX: Final = 128
# Their bytes: what a desktop has to spare for a replay.
PLAYBACK_BYTES_MAX: Final = 256 * 1024 * 1024
# Bytes of traced writes that go into evidence; what is behind them is cut off.
TRACE_BYTES_MAX: Final = 16 * 1024 * 1024

# --- sessions, keys, timers, events ---------------------------------------------------------------------------------

# Answers kept for one session's retries. Clients acknowledge as they go; this holds tens of thousands of small answers.
SESSION_ANSWER_BYTES_MAX: Final = 1024 * 1024
# Sessions alive at once; an evicted or refused client must open a new one (etcd bounds leases by memory only).
SESSIONS_MAX: Final = 100_000
# Those of one principal that has a name: one client that opens sessions and forgets them must not keep out the others.
SESSIONS_PER_PRINCIPAL_MAX: Final = SESSIONS_MAX // 10
# Longest time to live. Shorter than KEY_WINDOW_SECONDS, so that no late copy outlives the key that would stop it.
SESSION_TTL_SECONDS_MAX: Final = 12 * 3600
# How long, in log time, an idempotency key keeps its first answer (Stripe keeps keys for 24 hours).
KEY_WINDOW_SECONDS: Final = 24 * 3600
# Bytes of answers kept under idempotency keys, about 250,000 of them. When they are full, commands under new keys are
# rejected until older keys expire: a key that was promised is never dropped early.
KEY_BYTES_MAX: Final = 64 * 1024 * 1024
# Length of one idempotency key or cursor name (Stripe: 255).
KEY_LENGTH_MAX: Final = 255
# Timers, session ends and expired keys handled before one batch; the rest wait for the next entry, so that a burst of
# due timers cannot hold up a batch for long.
TIMERS_PER_ENTRY_MAX: Final = 64
# A principal's name: an address or a certificate's subject.
PRINCIPAL_LENGTH_MAX: Final = 255
# Named cursors; each is a consumer that somebody runs.
CURSORS_MAX: Final = 10_000
# Events kept for late consumers, in number; older ones answer EventsGap.
EVENTS_KEPT: Final = 65_536
# The same in bytes of encoded events; whichever bound is reached first.
EVENT_BYTES_KEPT: Final = 32 * 1024 * 1024
# Bytes of results in one batch; a command beyond it fails. 1,024 results of a megabyte would be a gigabyte of answers.
RESULT_BYTES_PER_BATCH_MAX: Final = 32 * 1024 * 1024
# Events one command may emit: they are held in memory until its batch has been applied. Their bytes, of a whole batch
# together, are bounded by EVENT_BYTES_KEPT: more could not be kept anyway.
EVENTS_PER_COMMAND_MAX: Final = 65_536
# One stored answer (result) of a command. Large reads belong in queries.
RESULT_BYTES_MAX: Final = 1024 * 1024

# --- the log on disk --------------------------------------------------------------------------------------------------

# Payloads below this are stored as they are: an lz4 frame costs microseconds and saves nothing on small ones.
COMPRESS_BYTES_MIN: Final = 1024
# What a disk writes whole or not at all. 512 is the smallest any disk has; assuming less than it does is safe.
SECTOR_BYTES: Final = 512
# Control structures: a segment head, an identity, a term. They hold a handful of short fields.
CONTROL_BYTES_MAX: Final = 64 * 1024
# A segment is sealed at this size: the unit in which compaction frees space (etcd: 64 MB, Kafka: 1 GiB).
SEGMENT_BYTES: Final = 64 * 1024 * 1024
# The smallest segment, however often snapshots are wanted: a file costs three syncs to make.
SEGMENT_BYTES_MIN: Final = 64 * 1024
# Zeros written ahead of the log, so that a sync flushes data and no metadata: 0.11 ms instead of 0.18-0.27 for 4 KiB.
# Larger steps gain nothing on average and stall the one sync that flushes them (16 MiB: 37 ms; 1 MiB: 2).
PREALLOCATION_BYTES: Final = 1024 * 1024
# One append, all entries together: it is one write from one buffer.
APPEND_BYTES_MAX: Final = 64 * 1024 * 1024
# Read from a log or snapshot at once: large enough to amortise the call, small enough to forget.
READ_BYTES: Final = 1024 * 1024
# Segments that a scan holds open, so that it can read what compaction removes meanwhile: 16 GiB of log, a quarter of
# the usual limit of open files.
SCAN_FILES_MAX: Final = 256
# How often a scan lists a log anew whose files vanish before it could open them. Each time the log's owner has removed
# a segment in the moment between; a second time in a row is rare.
SCAN_LISTINGS_MAX: Final = 8
# How often the unfinished end of a log in use is looked at: longer in all than a write takes, also one that the kernel
# holds up, which it does for at most 0.2 seconds.
SCAN_LOOKS_MAX: Final = 6
# How long apart: most writes are over by the next look.
SCAN_LOOK_AGAIN_SECONDS: Final = 0.05

# --- snapshots --------------------------------------------------------------------------------------------------------

# One record of a snapshot: a bucket holds about a thousandth of a container, so this allows containers of tens of
# gigabytes.
SNAPSHOT_RECORD_BYTES_MAX: Final = 64 * 1024 * 1024
# A chunk collects small buckets up to this many bytes (etcd streams snapshots in 32 KiB pieces). Producing one is the
# least that can be done between two batches: of a million keys, one bucket.
SNAPSHOT_CHUNK_BYTES: Final = 16 * 1024
# Leaves of one piece of a bucket, so that a queue of millions makes many records and no large one.
CHUNK_LEAVES_MAX: Final = 4096
# A manifest: 8 KiB of bucket sums for every container, plus schemas.
MANIFEST_BYTES_MAX: Final = 16 * 1024 * 1024
# A snapshot is taken when the log has grown by this much (etcd: every 10,000 or 100,000 entries).
SNAPSHOT_LOG_BYTES: Final = 64 * 1024 * 1024
# A snapshot's file is synced whenever it has grown by this much: a sync of the log waits for what the disk has in hand,
# and all of a large snapshot at once would hold it up for tens of milliseconds.
SNAPSHOT_SYNC_BYTES: Final = 1024 * 1024
# Snapshots kept on disk: the last one, and the one before it should the last prove unreadable.
SNAPSHOTS_KEPT: Final = 2
# Records of a snapshot that wait for the disk.
SNAPSHOT_QUEUE_RECORDS: Final = 64
# How long the runner works on a snapshot between two batches: the most that a command waits for it.
SNAPSHOT_SLICE_SECONDS: Final = 0.001
# How many times as long it then leaves a snapshot alone: commands keep three quarters of the time, on any machine.
# Waiting for commands it also lets go of the interpreter's lock, which other threads would otherwise get only after its
# switch interval of five milliseconds, once on their way in and once on the way out.
SNAPSHOT_REST_FACTOR: Final = 3
# The longest such rest: a slice may have taken long because the system had stopped the process.
SNAPSHOT_REST_SECONDS_MAX: Final = 0.01

# --- the embedded runtime -------------------------------------------------------------------------------------------

# Commands that wait for the next batch; sixteen full batches. Threads then wait, event loops get Busy.
COMMANDS_IN_FLIGHT_MAX: Final = 16_384
# Bytes of large commands among them (small ones are bounded by their number alone): sixty-four full batches.
BYTES_IN_FLIGHT_MAX: Final = 64 * 1024 * 1024
# A machine that fell silent closes its hash interval after this long, so that its last commands get a root too.
IDLE_HASH_SECONDS: Final = 1.0
# Where every change is a hash point, a confirmation goes with the next entry; after this long it goes alone.
CONFIRMATION_SECONDS_MAX: Final = 0.5
# After a full disk, timers and roots wait this long before the runner tries again; callers may try at once.
FULL_DISK_RETRY_SECONDS: Final = 1.0
# How far the wall clock may be ahead of the log at a start, to be believed. A machine may lie closed for long; a clock
# that is years off was set wrong.
CLOCK_JUMP_SECONDS_MAX: Final = 366 * 24 * 3600
# The least time between two entries that an idle machine writes for its timers: one that schedules itself at once must
# not fill the disk.
TICK_SECONDS_MIN: Final = 0.005
# Events read at once by a consumer; a named cursor moves after each such chunk.
EVENTS_PER_READ: Final = 256
# Keys whose first use a client remembers, to tell `outcome` since when to look.
KEYS_REMEMBERED: Final = 4096
# Leaves that may change while a streaming query reads one index: about a hundred megabytes of old values.
VIEW_LEAVES_MAX: Final = 1_000_000

# --- arrays -----------------------------------------------------------------------------------------------------------

# One column of an Array, which is one leaf: it is hashed, and copied into a snapshot or the undo log, in one piece.
# 16 MiB (four million int32) take xxh3 and a copy about two milliseconds each.
ARRAY_COLUMN_BYTES_MAX: Final = 16 * 1024 * 1024
# So much of a column is as good as one leaf where work is counted in leaves: hashing either takes half a microsecond.
ARRAY_LEAF_BYTES: Final = 1024
# Columns of one Array. Each is a leaf with books of its own; a table of PostgreSQL has at most 1,600.
ARRAY_COLUMNS_MAX: Final = 256
# What the undo log may keep of columns: copies for the rollback of the command that runs, and the first old value of
# each column that the batch has written to. Beyond this, writing is a `ValueError`: a failed command, and not a node
# without memory.
ARRAY_UNDO_BYTES_MAX: Final = 256 * 1024 * 1024
# Items of a streaming query that are produced under the state's lock before commands get their turn.
QUERY_SLICE_ITEMS: Final = 256

# --- the cluster ------------------------------------------------------------------------------------------------------

# Members of one cluster, learners included (the Raft dissertation calls five usual and nine many).
MEMBERS_MAX: Final = 64
# One message between members, who have shown who they are: the largest record of a snapshot, one leaf, and its head.
PEER_MESSAGE_BYTES_MAX: Final = 65 * 1024 * 1024
# Entries of one AppendEntries, in bytes; at least one entry travels (etcd: 1 MiB a message).
APPEND_MESSAGE_BYTES_MAX: Final = 1024 * 1024
# Bytes sent to a follower and not acknowledged yet; then the leader waits for it (etcd bounds 256 messages).
FOLLOWER_BYTES_IN_FLIGHT_MAX: Final = 16 * 1024 * 1024
# The end of the log that a member keeps in memory, to send and apply it without reading it back.
RECENT_ENTRIES_BYTES: Final = 32 * 1024 * 1024
# Bytes of entries handed to apply at once, at least one entry: a thousand small commands take 25 ms, and heartbeats
# must get their turn long before an election time-out.
APPLY_BYTES: Final = 64 * 1024
# How often a leader says that it is there. Raft wants it well below the election time-out.
HEARTBEAT_SECONDS: Final = 0.1
# A follower that hears nothing for a random time from this on holds an election (PySyncObj: 0.4 to 1.4 seconds).
ELECTION_SECONDS_MIN: Final = 0.5
# The longest such time; spread widely enough that two followers rarely stand at once (dissertation, section 9.3).
ELECTION_SECONDS_MAX: Final = 1.0
# How long a leader tries to hand its leadership over before it takes commands again.
TRANSFER_SECONDS_MAX: Final = 1.0
# Reads that wait for one barrier; further ones get Busy.
READS_WAITING_MAX: Final = 65_536
# Commands that wait at a leader for their batch or their commit; further ones get Busy.
CLUSTER_COMMANDS_IN_FLIGHT_MAX: Final = 65_536
# The same in bytes.
CLUSTER_BYTES_IN_FLIGHT_MAX: Final = 64 * 1024 * 1024
# Commands that are applied and whose answers wait until a quorum has confirmed them; then further ones get Busy.
CONFIRMATIONS_WAITING_MAX: Final = 65_536
# The same in bytes of these commands and their answers, before what is on its way when the bound is reached.
CONFIRMATION_BYTES_MAX: Final = 64 * 1024 * 1024
# The leader's own statements about roots that one batch records: more than one is rare.
STATEMENTS_PER_BATCH_MAX: Final = 8
# After a commit, idle followers hear of it after this long, so that their reads are fresh; under load the next entries
# tell them.
COMMIT_NOTICE_SECONDS: Final = 0.005
# Batches that a leader has on their way to a quorum; while they are, the next one collects.
BATCHES_IN_FLIGHT_MAX: Final = 4
# A leader whose wall clock is further than this from the median of its quorum does not believe it.
CLOCK_SKEW_SECONDS_MAX: Final = 60.0
# One part of a snapshot on its way: small enough that heartbeats pass between two of them.
SNAPSHOT_PART_BYTES: Final = 64 * 1024
# Parts on their way and not acknowledged.
SNAPSHOT_PARTS_IN_FLIGHT_MAX: Final = 16
# How fast a leader sends a snapshot: it has commands to look after (etcd has no limit and stalls, its issue 12500).
SNAPSHOT_BYTES_PER_SECOND: Final = 32 * 1024 * 1024

# A member that could not install a snapshot (a full disk, another machine's class) is offered one again after this.
SNAPSHOT_RETRY_SECONDS: Final = 1.0
# A leader asks a member anew that has not answered about a snapshot for this long: it may load a large bucket first.
SNAPSHOT_STALL_SECONDS_MAX: Final = 10.0

# New objects after which the collector looks at the youngest: about what two full batches leave (CPython: 700).
COLLECTOR_OBJECTS: Final = 50_000
# A node looks at its clock at least this often.
TICK_SECONDS_MAX: Final = 0.05
# How long a leader that is asked to end waits for its successor.
FAREWELL_SECONDS_MAX: Final = 1.5
# Entries of one part of an exported log.
EXPORT_PART_BYTES: Final = 1024 * 1024

# --- the network ------------------------------------------------------------------------------------------------------

# One frame of a client: a command of the largest size, or many small ones together, and its head.
CLIENT_FRAME_BYTES_MAX: Final = 2 * 1024 * 1024
# Values in one such frame, counting those inside others. Nothing is decoded of a frame with more: a byte can be an
# empty array, which takes over seventy. 1,024 commands with sixty values each have room. A frame of fewer bytes than
# this, as our clients send them (CLIENT_BYTES_PER_FRAME), need not be counted.
CLIENT_FRAME_ITEMS_MAX: Final = 65 * 1024
# One frame to a client: a batch of results.
ANSWER_FRAME_BYTES_MAX: Final = 40 * 1024 * 1024
# The first frame of a connection, from somebody who has not said yet who he is.
HELLO_BYTES_MAX: Final = 4 * 1024
# How long that may take, TLS included (Consul's CVE-2020-7218: no such limit).
HANDSHAKE_SECONDS_MAX: Final = 5.0
# Connections at once to one port; further ones are closed at once (etcd and nginx: by the limit of open files).
CONNECTIONS_MAX: Final = 4096
# Those among them that have not shaken hands; beyond that the oldest make room (Linux's SYN backlog: 128 to 1,024).
HANDSHAKES_MAX: Final = 256
# Bytes waiting to be sent on one connection; a client that does not read is cut off, a peer's messages are dropped.
SEND_BUFFER_BYTES_MAX: Final = 64 * 1024 * 1024
# Bytes that are handed to the socket at once. The rest waits with us, where it is counted to the byte.
WRITE_BYTES: Final = 256 * 1024
# Bytes that may then wait in the loop's buffer for the kernel before we hold back (asyncio's default is 64 KiB).
SOCKET_BUFFER_BYTES_HIGH: Final = 256 * 1024
# How long a connection that is being closed may take to hand over its last bytes; who does not read them loses them.
LINGER_SECONDS: Final = 1.0
# How often a connection between members says that it lives when there is nothing else to say.
PEER_BEAT_SECONDS: Final = 0.25
# How many silent intervals end it: a proxy or a firewall may keep a connection open whose other end is long gone.
PEER_BEATS_MISSED_MAX: Final = 12
# How long it may take to reach a member, before TLS and hellos. The kernel's own patience would outlast the fault.
DIAL_SECONDS_MAX: Final = 2.0
# The first pause before a member is dialed again; each failure doubles it.
REDIAL_SECONDS_MIN: Final = 0.05
# The longest such pause: a member that comes back is dialed soon, and one that is gone costs little.
REDIAL_SECONDS_MAX: Final = 2.0
# Messages between members below this travel as they are: a heartbeat's time is worth more than its bytes.
PEER_COMPRESS_BYTES_MIN: Final = 4 * 1024
# Lines about refused connections that one port logs in a second; the others are counted, and the count is logged.
REFUSALS_LOGGED_PER_SECOND: Final = 10
# Lines that clients can cause by their requests, on one node in a second; the others are counted.
LINES_LOGGED_PER_SECOND: Final = 10
# What a stranger said of himself, in a line of the log or a refusal.
REASON_CHARACTERS_MAX: Final = 300
# The kernel asks after a silent connection this often.
KEEPALIVE_SECONDS: Final = 2
# It gives the connection up after so many questions without an answer.
KEEPALIVE_PROBES: Final = 3
# Sent bytes that the other host has not acknowledged for this long: it is gone (TCP_USER_TIMEOUT).
UNACKNOWLEDGED_SECONDS_MAX: Final = 5.0
# Connections that wait in the kernel to be accepted. Linux cuts it to net.core.somaxconn.
LISTEN_BACKLOG: Final = 1024

# --- the feed ---------------------------------------------------------------------------------------------------------

# How long a node collects what it applies before it sends it to its observers, under load; alone an entry goes at once.
# Fifty times a second is more than eyes and most machines want, and bounds the writes that observers cost.
FEED_INTERVAL_SECONDS: Final = 0.02
# Encoded frames kept for observers that fell behind for a moment, their objects included; older ones come from the log.
FEED_RING_BYTES_MAX: Final = 8 * 1024 * 1024
# What the objects of a kept frame take beside its bytes.
FEED_FRAME_OVERHEAD_BYTES: Final = 256
# Payloads in one frame of entries or events, at least one of them: one read of the log, and a millisecond of encoding.
FEED_PART_BYTES: Final = 256 * 1024
# Bytes of a snapshot's file in one frame.
FEED_SNAPSHOT_PART_BYTES: Final = 256 * 1024
# Bytes that wait for one observer, beyond which it gets nothing: what one that has stopped costs (Redis cuts off a slow
# subscriber at 32 MiB).
FEED_BUFFER_BYTES_MAX: Final = 1024 * 1024
# An observer that had caught up once, and is so many bytes of log behind, is skipped forward to a snapshot.
FEED_LAG_BYTES_MAX: Final = 64 * 1024 * 1024
# How long an observer may take nothing at all of what waits for it; then its connection is closed.
FEED_STALL_SECONDS_MAX: Final = 60.0
# How long frames that are there already may be handed out at once to those who are behind.
FEED_SLICE_SECONDS: Final = 0.001
# After a part from the log or a snapshot, observers wait so many times as long as it took: commands keep the time.
FEED_REST_FACTOR: Final = 2
# The longest such rest.
FEED_REST_SECONDS_MAX: Final = 0.01
# How long sending frames to those who are live may hold up commands at once; whose turn does not come gets them later.
FEED_FLUSH_SECONDS_MAX: Final = 0.02
# The longest rest after frames were sent to those who are live, which takes so long only where a thousand are.
FEED_FLUSH_REST_SECONDS_MAX: Final = 0.2
# After so long without news an observer is told that there are none.
FEED_ALIVE_SECONDS: Final = 2.0
# A snapshot behind which applying took longer than this in all is too old for an observer that begins: it would take as
# long to catch up.
FEED_CATCH_UP_SECONDS: Final = 0.5
# Snapshots for observers are taken so far apart at least, however many come.
FEED_SNAPSHOT_SECONDS_MIN: Final = 1.0
# How long an observer waits for a new one; then it gets an older one, or is sent to the leader, which can make a hash
# point where nothing happens.
FEED_SNAPSHOT_WAIT_SECONDS: Final = 2.0
# Snapshots on their way to observers at once: each holds its file open.
FEED_SNAPSHOTS_MAX: Final = 64
# With so many on their way, an observer that takes too little of its own holds up the others for no longer than this.
FEED_CROWDED_SECONDS_MAX: Final = 5.0
# What an observer takes of its snapshot within those times at least; with a few bytes now and then it would keep its
# place for ever. A line of 28,800 bit/s carries 18 kB in five seconds.
FEED_SNAPSHOT_TAKEN_BYTES_MIN: Final = 16 * 1024
# Hash points whose moment is remembered, to tell how long applying took since a snapshot.
FEED_MARKS_MAX: Final = 1024
# Observers of one node. Each costs a write for each frame.
OBSERVERS_MAX: Final = 1024
# Topics of one subscription. An event is looked up under its topic and the branches above it, however many there are.
TOPICS_MAX: Final = 64
# Distinct queries that clients watch on one node, for each of which the state may be read fifty times a second.
WATCHES_MAX: Final = 1024
# Bytes of what those queries are asked with, and of results that are kept in case somebody asks again.
WATCH_BYTES_MAX: Final = 64 * 1024 * 1024
# How long reading them may hold up commands at once; the rest is read in a later turn.
WATCH_SLICE_SECONDS: Final = 0.002
# After that they are not read for so many times as long as it took: a query may take as long as its author likes.
WATCH_REST_FACTOR: Final = 2
# The longest such rest.
WATCH_REST_SECONDS_MAX: Final = 5.0
# How long the result of a watched query is kept when nobody waits: the next question for it is on its way.
WATCH_IDLE_SECONDS: Final = 1.0

# --- observers --------------------------------------------------------------------------------------------------------

# A node says something every `FEED_ALIVE_SECONDS`; after three times that an observer looks for another one.
FEED_SILENCE_SECONDS_MAX: Final = 6.0
# What an observer has received and not applied: then it stops reading, and its node skips it forward in the end.
OBSERVER_QUEUE_BYTES_MAX: Final = 8 * 1024 * 1024
# Payloads behind the last root that agreed, kept to name the command of a difference; older ones are dropped.
OBSERVER_KEPT_BYTES_MAX: Final = 16 * 1024 * 1024
# Places of writes behind that root, kept by an observer that traces.
OBSERVER_PLACES_MAX: Final = 100_000
# An observer that differed so often, with no root between that agreed, will go on to differ: it stops.
OBSERVER_HEALS_MAX: Final = 8
# Gaps in what one node sends, without an entry between; then the observer takes another node.
OBSERVER_GAPS_MAX: Final = 3
# Refusals per address that an observer takes before its first subscription has begun; then it is told.
OBSERVER_REFUSALS_MAX: Final = 3
# How often the record of an observer is made durable: what a power cut takes is received again.
RECORD_SYNC_SECONDS: Final = 1.0

# --- operations -------------------------------------------------------------------------------------------------------

# A configuration file: some lines; a file of another kind must not be read whole.
CONFIG_BYTES_MAX: Final = 256 * 1024
# The head of a request to the status port (nginx: 8 KiB); requests there have no body.
WEB_HEAD_BYTES_MAX: Final = 8 * 1024
# Connections to the status port at once: a scraper, some load balancers, a person.
WEB_CONNECTIONS_MAX: Final = 64
# How long a request there may take to arrive, and its answer to be taken.
WEB_SECONDS_MAX: Final = 5.0
# Restarts that a supervisor makes within its window before it gives up (Erlang's default is 1 in 5 seconds; nodes here
# are also killed on purpose).
RESTARTS_MAX: Final = 10
# The window in which they are counted.
RESTART_WINDOW_SECONDS: Final = 60.0
# The first pause before a restart; each one doubles it.
RESTART_PAUSE_SECONDS_MIN: Final = 0.2
# The longest pause. Ten of these fit into the window, so a child that always dies is given up.
RESTART_PAUSE_SECONDS_MAX: Final = 5.0
# How long a child may take to end in good order before it is killed.
CHILD_STOP_SECONDS_MAX: Final = 10.0
# The end of a child's log that is shown when it fails.
CHILD_LOG_BYTES_SHOWN: Final = 4 * 1024
# How long a command of the command line waits for one answer of one node: several elections.
TOOL_ANSWER_SECONDS_MAX: Final = 5.0
# The same for a command as a whole, over all members.
TOOL_TRY_SECONDS_MAX: Final = 10.0
# How long `rsm member` waits for a change: a new node has to catch up first.
TOOL_CHANGE_SECONDS_MAX: Final = 120.0
# How long a local cluster may take until all of its nodes serve; a large log is replayed meanwhile.
CLUSTER_START_SECONDS_MAX: Final = 120.0

# --- the simulator ----------------------------------------------------------------------------------------------------

# Steps of one linearizability check, about ten seconds; then it says that it could not check (Jepsen gives up too).
CHECKER_STEPS_MAX: Final = 5_000_000
# How long one such check may take.
CHECKER_SECONDS_MAX: Final = 60.0
# Seeds of one campaign: a day's work of a processor.
SIMULATION_SEEDS_MAX: Final = 1_000_000
# Worker processes of a campaign; each holds a simulated cluster in some tens of megabytes.
SIMULATION_PROCESSES_MAX: Final = 64
# How long one seed may take, waiting for its turn included, before it counts as not checked.
SIMULATION_SEED_SECONDS_MAX: Final = 3600.0

# --- clients of a cluster ---------------------------------------------------------------------------------------------

# Commands of one frame of a client: 256 spread its cost until it does not show.
CLIENT_COMMANDS_PER_FRAME: Final = 256
# Bytes of commands in one frame of a client, if there are more than one: a batch takes several such frames.
CLIENT_BYTES_PER_FRAME: Final = 64 * 1024
# Commands of one session that are sent and not answered. The replicas keep their answers until the client says that it
# has them, within SESSION_ANSWER_BYTES_MAX: of results up to 190 bytes none is dropped before its retry.
SESSION_COMMANDS_SENT_MAX: Final = 4096
# What one client has sent and not heard of, in bytes: then it waits before it sends more.
CLIENT_BYTES_IN_FLIGHT_MAX: Final = 8 * 1024 * 1024
# Requests of one connection that a server has not answered; then it reads no more from it.
REQUESTS_IN_FLIGHT_MAX: Final = 256
# The same in bytes of their frames.
REQUEST_BYTES_IN_FLIGHT_MAX: Final = 16 * 1024 * 1024
# How long a read of "at least this index" waits for it to be applied; then the client asks again, or elsewhere.
EARLY_READ_SECONDS_MAX: Final = 1.0
# Such reads that wait on one node; further ones get Busy. Clients ask for what they have seen: few are early.
EARLY_READS_MAX: Final = 4096
# How often a server looks whether it was: a fraction of what a commit takes.
EARLY_READ_LOOK_SECONDS: Final = 0.005
# Streams open on one connection: each holds old values of the state while it lasts.
STREAMS_PER_CONNECTION_MAX: Final = 16
# Streams open on one node: each makes every write keep what it overwrites.
STREAMS_MAX: Final = 64
# A stream whose client asks for no further part for so long is ended; its client may have forgotten it.
STREAM_IDLE_SECONDS_MAX: Final = 30.0
# Bytes of items in one part of a stream, after which the part ends (it holds one item more at most).
STREAM_PART_BYTES: Final = 256 * 1024
# How long a long poll for events waits at the server: well below what makes middle boxes forget a connection.
EVENTS_WAIT_SECONDS_MAX: Final = 30.0
# Events in one answer to a client; the next ones come with the next.
EVENTS_PER_ANSWER_MAX: Final = 1024
# Text of an error on the wire; the rest is cut, since it is for people.
ERROR_TEXT_CHARACTERS_MAX: Final = 1024
# How long a client waits before it tries again when no member answers; doubled each time, with up to a half of jitter.
RECONNECT_SECONDS_MIN: Final = 0.02
# The longest such wait, as long as a slow election.
RECONNECT_SECONDS_MAX: Final = 1.0
# How long a client tries to reach the cluster, or to have a call answered, when it is not told otherwise (etcd's client
# waits 5 s to dial).
CLIENT_TIMEOUT_SECONDS: Final = 10.0
# A client's session ends after this silence (Consul and etcd leases: 10 to 60 s are usual); it speaks up at a third.
CLIENT_SESSION_TTL_SECONDS: Final = 60.0
# How long one address may take to connect and shake hands before a client tries the next.
CLIENT_CONNECT_SECONDS_MAX: Final = 2.0
# Frames that a client sends however few commands they hold; with more on their way, commands are collected into full
# ones.
CLIENT_FRAMES_EAGER: Final = 4
# Frames of commands that a client has on their way at most.
CLIENT_FRAMES_IN_FLIGHT_MAX: Final = 64
# How long a follower may take to answer a read that any node may answer, before the leader is asked: it may be cut off.
FOLLOWER_ANSWER_SECONDS_MAX: Final = 1.0
# How long a client does without a follower after one has failed it, or none was found.
FOLLOWER_SEARCH_SECONDS_MIN: Final = 5.0
# How often a client asks members that know no leader: a fraction of an election, so that it adds little to one.
LEADER_POLL_SECONDS: Final = 0.15
# A leader that says nothing for so long while answers are due has stopped or is cut off: the client looks for another.
LEADER_SILENCE_SECONDS_MAX: Final = 1.0
# Requests of one client, other than commands, that wait for their answer; further ones get Busy.
CLIENT_CALLS_MAX: Final = 16_384
# How old a client lets its idea of the log's time grow, which tells the outcomes of keys that it sent from older ones.
LOG_TIME_SECONDS_MAX: Final = 600.0
# Between two looks at the schema of a cluster that is older than its client: soon after an upgrade the client knows.
SCHEMA_SECONDS_MIN: Final = 1.0
# Addresses that a client keeps: those that it was given and those of the members.
CLIENT_ADDRESSES_MAX: Final = 256

# --- the detector -----------------------------------------------------------------------------------------------------

# What a node writes of a bundle between two heartbeats: some milliseconds of a disk's time.
BUNDLE_STEP_BYTES: Final = 1024 * 1024
# Paths that a comparison of two states names; the rest is counted. A report is for eyes.
DIFFERENT_PATHS_MAX: Final = 100
# Logs in one comparison: each holds files open.
COMPARED_LOGS_MAX: Final = 64
# Segments that a comparison holds open, of all logs together, so that it can read what compaction removes meanwhile.
COMPARED_FILES_MAX: Final = 256
# Traces in one record of a bundle, in bytes: a reader holds one record at a time.
TRACE_RECORD_BYTES: Final = 256 * 1024
# The head of a bundle: some roots, versions, a verdict with what each member said.
BUNDLE_HEAD_BYTES_MAX: Final = 4 * 1024 * 1024
# Entries of one step of a replay: what may have to be run again when its roots differ. One hash interval.
REPLAY_STEP_ENTRIES: Final = HASH_INTERVAL_ENTRIES
# The same in commands, where two sides are compared: a batch may hold as many, and roots can be taken behind any entry.
REPLAY_STEP_COMMANDS: Final = 512
# Entries kept in memory for that, in bytes. Beyond it the replay begins anew instead.
REPLAY_STEP_BYTES_MAX: Final = 64 * 1024 * 1024
# Leaves looked at for paths that differ, when it is not one command that explains them.
DIFFERENT_LEAVES_MAX: Final = 100_000
# One frame between a replay and its child process: roots of a step, or all leaves that are looked at.
CHILD_FRAME_BYTES_MAX: Final = 64 * 1024 * 1024
# A child that runs an entry says so this often.
CHILD_BEAT_SECONDS: Final = 1.0
# A child that says nothing for so long hangs: no entry takes a minute, nor does importing a machine.
CHILD_SILENCE_SECONDS_MAX: Final = 60.0
# Processes of a hostile replay at once; each holds the state.
HOSTILE_PROCESSES_MAX: Final = 4
# Places at which a hostile replay goes on in another process, from a snapshot; each costs the start of one.
HOSTILE_RESTARTS: Final = 5
# A shadow that hears of no member for so long ends: several elections, and the start of a node.
SHADOW_SILENCE_SECONDS_MAX: Final = 30.0
# Paths of one example in the report of a shadow: the first ones tell.
SHADOW_PATHS_MAX: Final = 20
# Paths of one finding; a difference that has spread is told by its first ones.
PATHS_SHOWN_MAX: Final = 100
# Commands of one finding among which the bad one is.
COMMANDS_SHOWN_MAX: Final = 100

# --- strict mode ------------------------------------------------------------------------------------------------------

# Objects that one look at modules and helper objects takes in: about ten milliseconds of looking.
STRICT_OBJECTS_MAX: Final = 20_000
# Elements of one list, dict or set that are looked at one by one: longer ones are tables, of which the length is.
STRICT_VALUES_MAX: Final = 1_000
# Modules of the user's that are looked into: a machine is made of a few.
STRICT_MODULES_MAX: Final = 100
# How often each command is looked at without counting the cost: what it changes outside state it changes soon.
STRICT_EACH_COMMAND_RUNS: Final = 8
# Objects that a command pays for after that: two looks at a thousand objects happen at every twentieth command.
STRICT_OBJECTS_CREDIT_PER_COMMAND: Final = 100
# Leaves that an entry pays for: up to 200 of them the second replica is restored before every entry, in about 2 ms.
STRICT_RESTORE_CREDIT_PER_ENTRY: Final = 600
# What a restore costs however small the state, in leaves: every container's buckets are gone through.
STRICT_RESTORE_LEAVES_FIXED: Final = 400
# Restores to one that goes through a whole snapshot, manifest and frames included; the others take its leaves alone.
STRICT_RESTORES_PER_SNAPSHOT: Final = 16
# Different findings that one block keeps; each is kept once, so more are a program and not a slip.
STRICT_FINDINGS_MAX: Final = 100
# Differing paths that one finding names: the first say where to look.
STRICT_PATHS_MAX: Final = 5
# Entries between two restores in a simulation, where each of the nodes runs every entry.
STRICT_SIMULATION_ENTRIES: Final = 8

# --- the command line -----------------------------------------------------------------------------------------------

# Different commands that `log info` counts one by one. No machine has as many; a log of nonsense may, and the count
# must not grow with it.
CLI_COMMANDS_COUNTED_MAX: Final = 10_000

# --- the linter ------------------------------------------------------------------------------------------------------

# Files that one run of `rsm lint` reads; a package of machines has tens.
LINT_FILES_MAX: Final = 4096
# Bytes of one source file. The largest module that people write by hand has a few hundred KiB.
LINT_FILE_BYTES_MAX: Final = 1024 * 1024
# Bytes of all of them together: their trees take some hundred times as much for a while.
LINT_BYTES_MAX: Final = 32 * 1024 * 1024
# Nesting of a syntax tree: the linter descends by two calls a level, and Python allows a thousand.
LINT_DEPTH_MAX: Final = 160
# Functions followed from the handlers; what is beyond is reported as unchecked.
LINT_FUNCTIONS_MAX: Final = 20_000
# Steps of one run (an expression, a name carried over a branch): some ten seconds. Machines take thousands.
LINT_STEPS_MAX: Final = 10_000_000
# Allowances in one file; somebody who needs more of them does not want a linter.
LINT_ALLOWANCES_MAX: Final = 1000
# Names in the chain that leads from a handler to a finding; longer ones are shown with a gap.
LINT_CHAIN_MAX: Final = 8

# --- the lock file ---------------------------------------------------------------------------------------------------

# A lock file. That of the order book, with eighteen commands, has some 100 KiB.
LOCK_FILE_BYTES_MAX: Final = 16 * 1024 * 1024
# Cases that are kept of one command version: enough for each way in which it can end, few enough to be read.
LOCK_CASES_MAX: Final = 12
# Cases of one version that are tried, of which those that do something new are kept.
LOCK_CASES_DRAWN: Final = 160
# Steps of a run between two roots of its state.
LOCK_ROOT_STEPS: Final = 16
# The effect of a step in words; a longer one is there as its digest only.
LOCK_DETAIL_CHARACTERS_MAX: Final = 1000
# How long the process may take that runs a machine's corpus: a hundred times what a large one needs.
LOCK_RUN_SECONDS_MAX: Final = 120.0
# Commands of a log that `rsm schema lock --log` takes over as a run: they stand in the file, with what each does.
LOCK_EXAMPLES_MAX: Final = 400
# Different command versions that `rsm schema usage` counts; a log of nonsense may hold more, which is then said.
USAGE_VERSIONS_MAX: Final = 10_000

# --- the gateway ------------------------------------------------------------------------------------------------------

# The body of a request: the largest command, its bytes as base64, and room for names (nginx: 1 MiB).
GATEWAY_BODY_BYTES_MAX: Final = 2 * 1024 * 1024
# Bodies that are coming in at once, together; more are refused as busy. Thirty-two of the largest.
GATEWAY_BODIES_BYTES_MAX: Final = 64 * 1024 * 1024
# How long a body may take to come in, and the head before it: who sends a byte a second holds a connection no longer.
GATEWAY_BODY_SECONDS_MAX: Final = 10.0
# The head of a request. The arguments of a query stand in it (nginx and h11 take 32 and 64 KiB).
GATEWAY_HEAD_BYTES_MAX: Final = 64 * 1024
# Connections of one gateway, requests and WebSockets together; more are closed at once. Below the usual limit of 1,024
# open files.
GATEWAY_CONNECTIONS_MAX: Final = 768
# WebSockets among them, so that browsers that watch leave room for those that send commands.
GATEWAY_SOCKETS_MAX: Final = 512
# Different queries that are watched; each is one request of the gateway to a node, whoever watches it.
GATEWAY_WATCHES_MAX: Final = 256
# What waits for one browser, besides the message that is being sent. One that does not keep up is skipped forward.
GATEWAY_QUEUE_BYTES_MAX: Final = 1024 * 1024
# How long one message to a browser, or one part of an answer, may take before its connection is closed: as long as the
# feed's nodes give an observer.
GATEWAY_SEND_SECONDS_MAX: Final = 60.0
# A message of a browser: there is nothing for it to say.
GATEWAY_MESSAGE_BYTES_MAX: Final = 4096
# Frames in such a message: empty ones have no bytes that would count.
GATEWAY_FRAMES_PER_MESSAGE_MAX: Final = 64
# How often a browser hears something though nothing happened.
GATEWAY_ALIVE_SECONDS: Final = 15.0
# Events in one message to a browser, of FEED_PART_BYTES at most unless it is a single one; what comes in faster than
# browsers are told collects up to that.
GATEWAY_EVENTS_PER_MESSAGE: Final = 1000
# Items of a streaming query that are encoded at a time: one hop to a thread each.
GATEWAY_STREAM_ITEMS: Final = 256
# Streaming queries that are being answered: a node gives one client no more at once (STREAMS_PER_CONNECTION_MAX).
GATEWAY_STREAMS_MAX: Final = STREAMS_PER_CONNECTION_MAX
# How long requests that are being answered may take when the gateway is told to stop.
GATEWAY_STOP_SECONDS_MAX: Final = 10.0
# How soon a caller should ask again when the cluster cannot be reached: about an election.
GATEWAY_RETRY_SECONDS: Final = 1.0
