"""Whoever changes the audit log in the store, or shows another one, is found out."""
import base64
import hashlib
import json
import sqlite3

from grid import GridTest, main, wait


def leaf(entry):
    return hashlib.sha256(b"\0" + entry).digest()


def node(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


def root_of(hashes):
    """RFC 6962, section 2.1, as it is written there: a second opinion on ours."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << (len(hashes) - 1).bit_length() - 1
    return node(root_of(hashes[:split]), root_of(hashes[split:]))


def tree_of(entries):
    """The nodes that each entry completes, and the frontier: what the store has of a tree."""
    frontier, nodes = [], []
    for index, entry in enumerate(entries):
        completed = [leaf(entry)]
        while index & 1:
            completed.append(node(frontier.pop(), completed[-1]))
            index >>= 1
        frontier.append(completed[-1])
        nodes.append(b"".join(completed))
    return nodes, b"".join(frontier)


class AuditTest(GridTest):
    agents = 1

    def prepare(self):
        self.state = self.grid.data / "scheduler/state.db"

    def setUp(self):
        super().setUp()
        self.run_ok(self.grid.job_file(["/bin/true"], shards=2))
        for number in range(6):
            self.grid.token(f"more-{number}")

    def entries(self):
        with sqlite3.connect(self.state) as db:
            return [bytes(row[0]) for row in db.execute("SELECT entry FROM audit_log ORDER BY entry_index")]

    def while_stopped(self, *statements, removed=()):
        """Changes the store as someone may who has the file, and starts the scheduler again."""
        self.grid.terminate("scheduler")
        for name in removed:
            (self.grid.data / "scheduler" / name).unlink()
        db = sqlite3.connect(self.state)
        for statement in statements:
            db.execute(*(statement if isinstance(statement, tuple) else (statement,)))
        db.commit()
        db.close()
        self.grid.start_scheduler()

    def rewrite(self, entries, removed=()):
        """A log of other entries in which everything fits."""
        nodes, frontier = tree_of(entries)
        self.while_stopped(
            "DELETE FROM audit_log",
            *[("INSERT INTO audit_log VALUES(?, ?, ?)", row) for row in
              zip(range(len(entries)), entries, nodes)],
            ("UPDATE meta SET audit_size = ?, audit_frontier = ?", (len(entries), frontier)), removed=removed)

    def verify(self):
        return self.grid.ok("audit", "verify").json()

    def found(self, message):
        reply = self.grid.cli("audit", "verify")
        self.assertEqual(reply.code, 1, str(reply))
        self.assertIn(message, reply.json()["error"]["message"])

    def test_as_it_is(self):
        """Its parts agree with each other and with an implementation of a few lines."""
        first = self.verify()
        self.assertIsNone(first["kept_entries"])
        origin, size, root, empty, signature, end = first["checkpoint"].split("\n")
        entries = self.entries()
        self.assertEqual((int(size), empty, end), (len(entries), "", ""))
        self.assertEqual(base64.b64decode(root), root_of([leaf(entry) for entry in entries]))
        dash, name, signed = signature.split(" ")
        key = bytes.fromhex(first["key"].removeprefix("cgp1."))
        self.assertEqual((dash, name), ("\u2014", origin))
        self.assertEqual(base64.b64decode(signed)[:4],
                         hashlib.sha256(origin.encode() + b"\n\1" + key).digest()[:4])
        listed = self.grid.ok("audit", "list", "--from", 0).json()["entries"]
        self.assertEqual([row["entry"] for row in listed], [json.loads(entry) for entry in entries])
        events = [row["entry"]["event"] for row in listed]
        self.assertEqual(events[:5], ["scheduler started", "join token created", "device registered",
                                      "job submitted", "job ended"])
        self.grid.token("one-more")
        again = self.verify()
        self.assertEqual((again["kept_entries"], again["entries"]), (len(entries), len(entries) + 1))
        table = self.grid.ok("audit", "list", json_output=False).out
        self.assertIn("owner=one-more", table)

    def test_proof(self):
        proof = self.grid.ok("audit", "prove", 3).json()
        _, size, root = proof["checkpoint"].split("\n")[:3]
        hashed, index, last = leaf(proof["entry"].encode()), 3, int(size) - 1
        for other in map(base64.b64decode, proof["proof"]):
            left = index & 1 or index == last
            hashed = node(other, hashed) if left else node(hashed, other)
            while left and not index & 1 and index:
                index, last = index >> 1, last >> 1
            index, last = index >> 1, last >> 1
        self.assertEqual((hashed, last), (base64.b64decode(root), 0))
        beyond = self.grid.cli("audit", "prove", 1000)
        self.assertEqual(beyond.code, 1)
        self.assertIn("there is no entry 1000", beyond.err)

    def test_edited(self):
        self.verify()
        self.while_stopped("UPDATE audit_log SET entry = replace(CAST(entry AS TEXT), 'owner-1', "
                           "'owner-9') WHERE entry_index = 1")
        self.found("entry 1 was changed")

    def test_edited_before_anyone_looked(self):
        self.while_stopped("UPDATE audit_log SET entry = CAST('{}' AS BLOB) WHERE entry_index = 2")
        self.found("entry 2 was changed")
        self.assertFalse((self.grid.data / "audit.checkpoint").exists())

    def test_deleted(self):
        self.verify()
        self.while_stopped("DELETE FROM audit_log WHERE entry_index = 5")
        self.found("entry 5 is missing")

    def test_deleted_and_closed_up(self):
        self.verify()
        self.while_stopped("DELETE FROM audit_log WHERE entry_index = 5",
                           "UPDATE audit_log SET entry_index = entry_index - 1 WHERE entry_index > 5")
        self.found("one of the entries 4 to 5 was changed, or they changed places")

    def test_reordered(self):
        self.verify()
        self.while_stopped("UPDATE audit_log SET entry_index = -1 WHERE entry_index = 4",
                           "UPDATE audit_log SET entry_index = 4 WHERE entry_index = 6",
                           "UPDATE audit_log SET entry_index = 6 WHERE entry_index = -1")
        self.found("one of the entries 4 to 5 was changed, or they changed places")

    def test_cut(self):
        size = self.verify()["entries"]
        self.while_stopped(f"DELETE FROM audit_log WHERE entry_index >= {size - 2}")
        self.found(f"entry {size - 2} is missing")

    def test_cut_in_order(self):
        """With the tree that fits: the scheduler does not sign it, for it knows its last checkpoint."""
        self.verify()
        entries = self.entries()
        self.rewrite(entries[:-2])  # then comes the entry of the scheduler's start
        self.found(f"entry {len(entries) - 1} is missing")
        self.assertIn("no checkpoint is signed: the audit log was cut", self.grid.tail("scheduler"))
        for command in (["list"], ["prove", 0]):
            reply = self.grid.cli("audit", *command)
            self.assertEqual(reply.code, 1, str(reply))
            self.assertIn("the audit log was cut", reply.err)

    def test_long(self):
        """However many are asked for, the last ones are shown."""
        self.rewrite(self.entries() * 150, removed=["audit.checkpoint"])
        listed = self.grid.ok("audit", "list", "--limit", 5000).json()["entries"]
        self.assertEqual((len(listed), listed[-1]["index"]), (1000, self.verify()["entries"] - 1))

    def test_cut_and_signed(self):
        """Its own key signs the smaller log; whoever kept a checkpoint knows."""
        size = self.verify()["entries"]
        kept = (self.grid.data / "audit.checkpoint").read_text()
        self.restart_agent()
        wait(lambda: self.agents_size() == size, 10, "the agent to look again")
        self.rewrite(self.entries()[:-2], removed=["audit.checkpoint"])
        self.found(f"the log was cut: its checkpoint has {size - 1} entries, the one kept in")
        self.assertEqual((self.grid.data / "audit.checkpoint").read_text(), kept)
        wait(lambda: "the grid's audit log: the log was cut" in self.grid.tail("agent-1"), 20,
             "the agent to find it")
        for number in range(5):  # longer again, it is still another one
            self.grid.token(f"later-{number}")
        self.found(f"the first {size} entries are not those of the checkpoint that was kept")
        self.assertIn("the log was changed", self.grid.cli("audit", "prove", 0).err)

    def test_against(self):
        """What somebody else has kept finds what this data folder alone cannot."""
        kept = self.grid.folder / "kept"
        kept.write_text(self.verify()["checkpoint"])
        self.assertEqual(self.verify_against(kept).code, 0)
        foreign = self.grid.folder / "foreign"
        foreign.write_text(kept.read_text().replace("corpgrid/", "another/"))
        self.assertIn(f"{foreign}: the checkpoint is of the log another/", self.verify_against(foreign).err)
        entries = self.entries()
        for name in ("audit.pub", "audit.checkpoint"):
            (self.grid.data / name).unlink()
        self.rewrite(entries[:-2], removed=["audit.checkpoint"])
        self.assertIn(f"the one in {kept} has {len(entries)}", self.verify_against(kept).err)
        self.grid.token("another")
        self.assertIn(f"the first {len(entries)} entries are not those of the checkpoint in {kept}",
                      self.verify_against(kept).err)
        self.verify()

    def verify_against(self, file):
        return self.grid.cli("audit", "verify", "--against", file)

    def agents_size(self):
        try:
            note = (self.grid.agent_folder("agent-1") / "audit.checkpoint").read_text()
        except FileNotFoundError:
            return 0
        return int(note.split("\n")[1])

    def restart_agent(self):
        """An agent looks when it registers."""
        self.grid.terminate("agent-1")
        self.grid.start_agent("agent-1")

    def test_another_key(self):
        self.verify()
        self.rewrite(self.entries(), removed=["audit.key", "audit.pub", "audit.checkpoint"])
        self.found("the log shows the key")


if __name__ == "__main__":
    main()
