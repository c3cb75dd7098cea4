"""A store is opened by what is in it; what is none is named for what it looks like, with the remedy."""

from __future__ import annotations

import gzip
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rdsca_helpers.certs import read_pem
from rdsca_helpers.edge.stores import opening
from rdsca_helpers.edge.stores.kinds import recognise
from rdsca_helpers.edge.stores.opening import open_store, password_from
from rdsca_helpers.errors import Refused, UsageError

DATA = Path(__file__).parent / "data"
PUBLIC = (DATA / "amazon-trust-services-roots.pem").read_bytes()
DER = read_pem(PUBLIC.decode())[0][0].der
KEY = subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519"], check=True, capture_output=True).stdout


@pytest.mark.parametrize(
    ("content", "looks"),
    [
        (b"", "it is empty"),
        (b"\n  \n", "it is empty"),
        (b"<!DOCTYPE html><html>please log in</html>", "HTML"),
        (b"\n<html><pre>" + PUBLIC, "HTML"),
        (gzip.compress(PUBLIC), "compressed"),
        (PUBLIC.decode().encode("utf-16"), "UTF-16"),
        (DER, "one certificate in DER"),
        (KEY, "a private key and no certificate"),
        (b"-----BEGIN CERTIFICATE REQUEST-----\n", "certificate request"),
        (b"# nothing yet\n", "text without a certificate"),
        (os.urandom(8).join([b"\0\1\2\3"] * 9), "a kind that rdsca does not know"),
    ],
    ids=["empty", "blank", "HTML", "HTML with PEM", "gzip", "UTF-16", "DER", "key", "request", "text", "binary"],
)
def test_what_is_no_store_is_named_with_the_remedy(tmp_path: Path, content: bytes, looks: str) -> None:
    file = tmp_path / "store.pem"
    file.write_bytes(content)
    with pytest.raises(Refused, match=looks) as refused:
        open_store(str(file))
    assert refused.value.remedy
    assert "{" not in refused.value.remedy
    assert KEY.splitlines()[1].decode() not in str(refused.value)


def test_the_remedy_for_der_works(tmp_path: Path) -> None:
    file = tmp_path / "root.cer"
    file.write_bytes(DER)
    with pytest.raises(Refused) as refused:
        open_store(str(file))
    subprocess.run(refused.value.remedy.rpartition(": ")[2].split(), check=True)
    assert [c.der for c in open_store(f"{file}.pem").contents.certificates] == [DER]


def test_a_name_says_nothing_and_the_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".postgresql").mkdir()
    shutil.copy(DATA / "amazon-trust-services-roots.pem", tmp_path / ".postgresql" / "root.crt")
    store = open_store("~/.postgresql/root.crt")
    assert (store.kind.name, len(store.contents.certificates)) == ("pem", 5)
    assert store.path == tmp_path / ".postgresql" / "root.crt"
    assert str(store.data[:40]) not in repr(store)


def test_links_that_lead_nowhere_or_round_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "c").symlink_to("nothing")
    for name, why in (("a", "in a circle"), ("c", "a link to nothing, which is not"), ("none", "No such file")):
        with pytest.raises(UsageError, match=f"cannot be read .*{why}"):
            open_store(str(tmp_path / name))


def test_pipes_sockets_and_devices_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    server = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    os.chdir(tmp_path)  # a socket's name is short
    server.bind("socket")
    os.chdir(here)
    for path in (tmp_path / "pipe", tmp_path / "socket", Path("/dev/zero")):
        with pytest.raises(Refused, match="a device, a pipe or a socket"):
            open_store(str(path))
    server.close()


def test_a_file_beyond_all_measure_is_not_read_to_the_end(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(opening.LARGEST * 1000)
    with pytest.raises(Refused, match="larger than 64 MiB"):
        open_store(str(tmp_path / "huge"))


def test_passwords_come_from_the_environment_or_a_file_and_do_not_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORE_PASSWORD", "s3cret é")
    file = tmp_path / "password"
    file.write_text("s3cret é\n")
    file.chmod(0o600)
    for source in ("env:STORE_PASSWORD", f"file:{file}"):
        secret = password_from(source)
        assert secret
        assert secret.reveal() == "s3cret é"
        assert "s3cret" not in repr(secret)
    assert password_from("") is None
    assert password_from("auto") is None


def test_a_password_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("s3cret")
    for mode in (0o644, 0o640, 0o620, 0o602):
        file.chmod(mode)
        with pytest.raises(Refused, match="others may read or write") as refused:
            password_from(f"file:{file}")
        assert "s3cret" not in str(refused.value)
    file.chmod(0o600)
    (tmp_path / "link").symlink_to(file)
    for name, why in (("link", "it is a link"), ("none", "No such file")):
        with pytest.raises(UsageError, match=why):
            password_from(f"file:{tmp_path / name}")


@pytest.mark.parametrize("source", ["env:", "env:NO_SUCH_NAME", "file:", "hunter2", "prompt:x", "ENV:X"])
def test_any_other_source_is_an_error_that_does_not_repeat_what_may_be_a_password(source: str) -> None:
    with pytest.raises(UsageError) as refused:
        password_from(source)
    assert "hunter2" not in str(refused.value)


def test_a_prompt_without_a_terminal_is_refused_and_does_not_wait() -> None:
    code = "from rdsca_helpers.edge.stores.opening import password_from; password_from('prompt')"
    done = subprocess.run([sys.executable, "-c", code], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert b"Refused: there is no terminal" in done.stderr


def test_cut_at_any_byte_a_store_opens_or_is_refused_with_a_remedy(tmp_path: Path) -> None:
    file = tmp_path / "x"
    for end in range(0, len(PUBLIC), 7):
        file.write_bytes(PUBLIC[:end])
        if recognise(PUBLIC[:end]):
            assert open_store(str(file)).data == PUBLIC[:end]
        else:
            with pytest.raises(Refused) as refused:
                open_store(str(file))
            assert refused.value.remedy, end
