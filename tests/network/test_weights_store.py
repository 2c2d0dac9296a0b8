"""The store and its downloads, against a server on this machine that misbehaves on request."""

from __future__ import annotations

import errno
import hashlib
import http.server
import logging
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

import h5py
import numpy as np
import pytest

from fastsynth._errors import WeightsError
from fastsynth.network.weights import download as download_module
from fastsynth.network.weights import (
    get_weights,
    list_weights,
    load_weights,
    model_card,
    random_weights,
    weights_path,
)
from fastsynth.network.weights import store as store_module
from fastsynth.network.weights.download import fetch
from fastsynth.network.weights.source import Source

CONTENT = np.random.default_rng(0).bytes(1_500_000)


@dataclass
class Server:
    """What the server sends, how it misbehaves, and which requests it saw."""

    content: bytes = CONTENT
    port: int = 0
    cut_after: int | None = None  # bytes of a body after which the connection is closed
    cuts: int = 0  # how many times it still does so
    ranges: bool = True
    statuses: list[int] = field(default_factory=list)  # errors to answer with first
    forever: int | None = None  # a status for all requests
    requests: list[str] = field(default_factory=list)  # the Range of each request, or ""

    @property
    def source(self) -> Source:
        digest = hashlib.sha256(CONTENT).hexdigest()
        return Source(f"http://127.0.0.1:{self.port}/weights.h5", len(CONTENT), ("sha256", digest))


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            state.requests.append(wanted)
            status = state.forever or (state.statuses.pop(0) if state.statuses else None)
            if status is not None:
                self.send_error(status)
                return
            start = 0
            if wanted and state.ranges:
                start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])  # type: ignore[index]
                if start >= len(state.content):
                    self.send_error(416)
                    return
                self.send_response(206)
                last = len(state.content) - 1
                self.send_header("Content-Range", f"bytes {start}-{last}/{len(state.content)}")
            else:
                self.send_response(200)
            body = state.content[start:]
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if state.cut_after is not None and state.cuts > 0:
                state.cuts -= 1
                body = body[: state.cut_after]
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        state.port = running.server_address[1]
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield state
        running.shutdown()
        thread.join()


def get(server: Server, path: Path, **options: float) -> Path:
    return fetch(server.source, path, timeout=5, pause=0.01, **options)  # type: ignore[arg-type]


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir() if entry.suffix != ".lock"}


# ---- one file ----


def test_plain_download(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = fetch(server.source, tmp_path / "new" / "w.h5", progress=lambda *step: seen.append(step))
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == {"w.h5"}
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)
    get(server, path)
    assert server.requests == [""]  # the second call needs no request


def test_resumes_after_cuts(server: Server, tmp_path: Path) -> None:
    server.cut_after, server.cuts = 400_000, 3
    path = get(server, tmp_path / "w.h5")
    assert path.read_bytes() == CONTENT
    assert server.requests == ["", "bytes=400000-", "bytes=800000-", "bytes=1200000-"]


def test_a_later_call_resumes(server: Server, tmp_path: Path) -> None:
    server.cut_after, server.cuts = 500_000, 1
    with pytest.raises(WeightsError, match=r"500000 of 1500000 bytes are kept, .* same command"):
        fetch(server.source, tmp_path / "w.h5", attempts=0, pause=0.01)
    assert names(tmp_path) == {"w.h5.part"}
    assert get(server, tmp_path / "w.h5").read_bytes() == CONTENT
    assert server.requests[1:] == ["bytes=500000-"]


def test_server_without_ranges(server: Server, tmp_path: Path) -> None:
    server.ranges, server.cut_after, server.cuts = False, 600_000, 1
    assert get(server, tmp_path / "w.h5").read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_interrupted_by_the_user(server: Server, tmp_path: Path) -> None:
    def interrupt(done: int, _total: int) -> None:
        if done > 700_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(server.source, tmp_path / "w.h5", progress=interrupt)
    assert names(tmp_path) == {"w.h5.part"}
    assert get(server, tmp_path / "w.h5").read_bytes() == CONTENT
    assert server.requests[1].startswith("bytes=")


def test_kept_part_of_another_file(server: Server, tmp_path: Path) -> None:
    """A part that does not fit is noticed at the end; the file is fetched from its first byte."""
    (tmp_path / "w.h5.part").write_bytes(b"x" * 1000)
    assert get(server, tmp_path / "w.h5").read_bytes() == CONTENT
    assert server.requests == ["bytes=1000-", ""]


@pytest.mark.parametrize("size", [len(CONTENT), len(CONTENT) + 5])
def test_kept_part_that_is_too_long(server: Server, tmp_path: Path, size: int) -> None:
    (tmp_path / "w.h5.part").write_bytes(b"x" * size)
    assert get(server, tmp_path / "w.h5").read_bytes() == CONTENT


def test_whole_part_needs_no_request(server: Server, tmp_path: Path) -> None:
    (tmp_path / "w.h5.part").write_bytes(CONTENT)
    assert get(server, tmp_path / "w.h5").read_bytes() == CONTENT
    assert server.requests == []


def test_wrong_checksum(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    with pytest.raises(WeightsError, match=r"without the sha256 checksum .* put it at .*w\.h5"):
        get(server, tmp_path / "w.h5")
    assert names(tmp_path) == set()


def test_truncated_at_the_source(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:1000]
    with pytest.raises(WeightsError, match="has nothing more to send"):
        get(server, tmp_path / "w.h5", attempts=2)
    assert not (tmp_path / "w.h5").exists()


def test_too_long_at_the_source(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT + b"more"
    with pytest.raises(WeightsError, match="sends more than 1500000 bytes"):
        get(server, tmp_path / "w.h5")
    assert names(tmp_path) == set()


@pytest.mark.parametrize("status", [403, 404, 410])
def test_refusal_is_final(server: Server, tmp_path: Path, status: int) -> None:
    server.forever = status
    with pytest.raises(WeightsError, match=rf"answers {status} .* fetch http://.* yourself"):
        get(server, tmp_path / "w.h5")
    assert len(server.requests) == 1


def test_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.statuses = [503, 429, 500]
    assert get(server, tmp_path / "w.h5").read_bytes() == CONTENT
    server.forever = 503
    with pytest.raises(WeightsError, match="503 Service Unavailable"):
        get(server, tmp_path / "x.h5", attempts=2)


def test_nobody_answers(server: Server, tmp_path: Path) -> None:
    source = replace(server.source, url="http://127.0.0.1:9/weights.h5")
    with pytest.raises(WeightsError, match=r"cannot fetch .*Connection refused"):
        fetch(source, tmp_path / "w.h5", attempts=2, pause=0.01)


def test_two_at_once(server: Server, tmp_path: Path) -> None:
    """Two that want the same file take turns; the second finds it there."""
    paths: list[Path] = []
    both = [
        threading.Thread(target=lambda: paths.append(get(server, tmp_path / "w.h5")))
        for _ in range(2)
    ]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert paths == [tmp_path / "w.h5"] * 2
    assert server.requests == [""]
    assert paths[0].read_bytes() == CONTENT


def test_full_disk(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: IO[bytes], block: bytes) -> None:
        with download_module._disk_errors():
            file.write(block[:10])
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(download_module, "_write", full)
        with pytest.raises(WeightsError, match=r"No space left on device.*FASTSYNTH_HOME"):
            get(server, tmp_path / "w.h5")
    assert server.requests == [""]  # no use to ask again
    assert not (tmp_path / "w.h5").exists()


def test_unwritable_folder(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"cannot write .*FASTSYNTH_HOME"):
        get(server, tmp_path / "file" / "w.h5")


# ---- the store ----


@pytest.fixture
def published(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A store in `tmp_path`, and a model card with oxford weights (two layers) on the server."""
    monkeypatch.setenv("FASTSYNTH_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("FASTSYNTH_OFFLINE", raising=False)
    layers = ("conv1_1", "conv1_2")
    arrays = random_weights("vgg16", seed=9).arrays
    with h5py.File(tmp_path / "published.h5", "w") as file:
        for layer in layers:
            block = f"block1_{layer.replace('1_', '')}"
            kernel = arrays[f"{layer}.weight"].transpose(2, 3, 1, 0)
            file.create_dataset(f"{block}/{block}_W_1:0", data=kernel)
            file.create_dataset(f"{block}/{block}_b_1:0", data=arrays[f"{layer}.bias"])
    server.content = (tmp_path / "published.h5").read_bytes()
    card = model_card("vgg16")
    oxford = replace(
        card.weights["oxford"],
        url=server.source.url,
        size=len(server.content),
        checksum=("md5", hashlib.md5(server.content).hexdigest()),
        layers=layers,
    )
    changed = replace(card, weights={**card.weights, "oxford": oxford})
    model_card.cache_clear()
    monkeypatch.setattr("fastsynth.network.weights.cards.model_card", lambda _: changed)
    monkeypatch.setattr("fastsynth.network.weights.load.model_card", lambda _: changed)
    monkeypatch.setattr("fastsynth.network.weights.store.model_card", lambda _: changed)
    yield server
    monkeypatch.undo()


def test_get_load_and_list(published: Server) -> None:
    before = {(row.network, row.name): row.present for row in list_weights()}
    assert not any(before.values())
    with pytest.raises(WeightsError, match="`fastsynth weights get oxford`, pass download"):
        load_weights("oxford")
    path = get_weights("oxford")
    assert path == weights_path("oxford")
    assert [row.name for row in list_weights() if row.present and row.network == "vgg16"] == [
        "oxford"
    ]
    weights = load_weights("oxford")
    assert weights.id == "oxford"
    assert weights.layers == ("conv1_1", "conv1_2")
    assert "CC BY 4.0" in weights.licence
    source = random_weights("vgg16", seed=9)
    np.testing.assert_array_equal(weights.arrays["conv1_2.weight"], source.arrays["conv1_2.weight"])
    assert weights.arrays["normalize.weight"][0, :, 0, 0].tolist() == [0, 0, 255]


def test_download_on_request(published: Server) -> None:
    weights = load_weights("oxford", download=True)
    assert weights.id == "oxford"
    assert load_weights("oxford", download=True).sha256 == weights.sha256
    assert len(published.requests) == 1


def test_auto(published: Server, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="fastsynth.weights"):
        assert load_weights("auto").id == "random:0"
        assert "fastsynth weights get oxford" in caplog.text
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        caplog.clear()
        assert published.requests == []  # nothing is fetched unasked
        get_weights("oxford")
        assert load_weights().id == "oxford"
        assert [record.levelname for record in caplog.records] == ["INFO"]


def test_auto_may_download(published: Server) -> None:
    assert load_weights("auto", download=True).id == "oxford"


def test_offline(published: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTSYNTH_OFFLINE", "1")
    with pytest.raises(
        WeightsError, match=r"FASTSYNTH_OFFLINE is set.*unset it, or fetch http.*put it"
    ):
        load_weights("oxford", download=True)
    assert published.requests == []
    monkeypatch.setenv("FASTSYNTH_OFFLINE", "0")
    path = get_weights("oxford")
    monkeypatch.setenv("FASTSYNTH_OFFLINE", "1")
    assert get_weights("oxford") == path
    assert load_weights("oxford").id == "oxford"


def test_mirror(published: Server) -> None:
    mirror = f"http://127.0.0.1:{published.port}/mirror/of/it"
    assert get_weights("oxford", url=mirror).read_bytes() == published.content


def flip(path: Path, place: int, *, keep_time: bool) -> None:
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[place] ^= 0x10
    path.write_bytes(data)
    if keep_time:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("keep_time", [True, False])
def test_damage_in_the_store_is_noticed(published: Server, keep_time: bool) -> None:
    """By the checksum of the file where it looks changed, else by that of the arrays."""
    path = get_weights("oxford")
    load_weights("oxford")
    with h5py.File(path) as file:
        place = file["block1_conv2/block1_conv2_W_1:0"].id.get_offset()
    flip(path, place + 1000, keep_time=keep_time)
    for spec in ("oxford", "auto"):  # no silent switch to other weights
        with pytest.raises(
            WeightsError, match=r"is damaged: .*`fastsynth weights get oxford` fetches"
        ):
            load_weights(spec)
    get_weights("oxford")
    assert load_weights("oxford").id == "oxford"
    assert len(published.requests) == 2


def test_file_put_there_by_hand(published: Server) -> None:
    path = weights_path("oxford")
    path.parent.mkdir(parents=True)
    path.write_bytes(published.content)
    assert load_weights("oxford").id == "oxford"
    path.with_name(path.name + ".verified").write_text("[nonsense")
    assert load_weights("oxford").id == "oxford"
    path.write_bytes(published.content[:-10])
    with pytest.raises(WeightsError, match="is damaged"):
        load_weights("oxford")


def test_verified_once(published: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first load the file is not hashed again."""
    get_weights("oxford")
    load_weights("oxford")

    def never(*_: object) -> bool:
        raise AssertionError("hashed again")

    monkeypatch.setattr(store_module, "checksum_matches", never)
    assert load_weights("oxford").id == "oxford"


def test_unknown_names(published: Server) -> None:
    with pytest.raises(
        WeightsError, match="no published weights 'harvard' for vgg16; there are ox"
    ):
        get_weights("harvard")


def test_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FASTSYNTH_HOME", str(tmp_path))
    assert weights_path("oxford", "vgg19").parent == tmp_path / "weights" / "vgg19"
    monkeypatch.delenv("FASTSYNTH_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("sys.platform", "linux")
    assert store_module.home() == tmp_path / "cache" / "fastsynth"
