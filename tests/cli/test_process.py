"""Commands as processes: streams, encodings, interrupts, and exit status."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import require

from anytag import __version__
from anytag.model.directory import SHIPPED_MODEL

EXAMPLES = Path(__file__).parents[2] / "examples"
ANYTAG = (sys.executable, "-m", "anytag")

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and file names of POSIX")


def as_in_a_shell():
    """Let interrupts reach the command even if the tests run in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def start(*arguments, command=ANYTAG, **more):
    more = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more
    return subprocess.Popen([*command, *map(str, arguments)], preexec_fn=as_in_a_shell, **more)


def run(*arguments, **more):
    """Return status, standard output and standard error of a command."""
    process = start(*arguments, **more)
    out, error = process.communicate(timeout=120)
    return process.returncode, out, error


def text_of(words):
    """A file that holds them, at its start."""
    file = tempfile.TemporaryFile()  # noqa: SIM115
    file.write(words.encode())
    file.seek(0)
    return file


def shell(command, folder):
    """Return the status and the output of a bash command line."""
    line = command.replace("anytag ", f"{sys.executable} -m anytag ")
    done = subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def folder(tmp_path):
    require(SHIPPED_MODEL / "config.json", "the shipped model")
    shutil.copy(EXAMPLES / "cat.jpg", tmp_path / "c.jpg")
    return tmp_path


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_the_module_runs_and_says_its_version(flag):
    assert run(flag) == (0, f"anytag {__version__}\n".encode(), b"")


@pytest.mark.parametrize("command", ["--version", "tag c.jpg --json", "vocabulary show"])
def test_a_reader_that_has_enough_is_no_error(folder, command):
    code, _, error = shell(f"anytag {command} | true; exit ${{PIPESTATUS[0]}}", folder)
    assert (code, error) == (0, b"")


@pytest.mark.parametrize("command", ["tag --help", "vocabulary search cat", "parse /etc/hosts --json"])
def test_a_full_disk_is_reported_in_one_line(folder, command):
    code, _, error = shell(f"anytag {command} > /dev/full", folder)
    assert code == 2
    assert error.count(b"\n") == 1
    assert b"the disk is full" in error


def test_streams_that_are_closed(folder):
    assert shell("anytag vocabulary search tabby >&-", folder) == (0, b"", b"")
    assert shell("anytag tag gone.jpg >&- 2>&-", folder) == (1, b"", b"")
    for command in ("tag", "parse"):
        code, _, error = shell(f"anytag {command} - <&-", folder)
        assert code == 2
        assert re.fullmatch(rf"anytag {command}: - reads .* from standard input, but that is closed\n", error.decode())


def test_no_encoding_is_too_small(folder):
    encoding = "cp1252"
    strange = "\u732b\U0001f408 \u00e9\u2588.jpg"
    (folder / "c.jpg").rename(folder / strange)
    code, out, error = run(
        "tag", strange, "gone\u732b.jpg", "--top", 2, env=os.environ | {"PYTHONIOENCODING": encoding}, cwd=folder
    )
    assert code == 1
    text = out.decode(encoding)
    assert "animal" in text
    assert "\u00e9" in text
    assert "\\u732b" in text
    assert b"Traceback" not in error
    code, out, _ = run(
        "parse", "-", "--json", env=os.environ | {"PYTHONIOENCODING": encoding}, stdin=text_of("caf\u00e9 \u732b")
    )
    assert (code, json.loads(out.decode("utf-8"))["caption"]) == (0, "caf\u00e9 \u732b")
    assert run("--help", env=os.environ | {"PYTHONIOENCODING": encoding})[0] == 0


@pytest.mark.parametrize(
    ("locale", "given"),
    [("C.UTF-8", "outright"), ("C", "folder"), ("en_US.ISO-8859-1", "list"), ("en_US.ISO-8859-1", "null")],
)
def test_any_bytes_are_a_name(folder, locale, given):
    name = b"\xe9\xff \xc3\xa9.jpg"
    (folder / "c.jpg").rename(folder / os.fsdecode(name))
    (folder / "z.jpg").touch()
    arguments, listed = {
        "outright": ([name, "z.jpg"], b""),
        "folder": (["."], b""),
        "list": (["-"], name + b"\r\nz.jpg"),
        "null": (["-", "--null"], name + b"\0z.jpg"),
    }[given]
    command = [*ANYTAG, "tag", *arguments, "--top", "1", "--json"]
    environment = os.environ | {"LC_ALL": locale, "PYTHONUTF8": "0"}
    done = subprocess.run(command, input=listed, cwd=folder, capture_output=True, timeout=120, env=environment)
    assert done.returncode == 1, done.stderr
    first, second = sorted(
        (json.loads(line) for line in done.stdout.decode("utf-8").splitlines()), key=len, reverse=True
    )
    assert first["path"].encode("utf-8", "surrogateescape") == name
    assert (second["path"], second["error"]["kind"]) == ("z.jpg", "empty")


def test_paths_are_processed_as_they_arrive(folder):
    """A producer that waits for each answer would block forever if eight paths were read ahead."""
    process = start("tag", "-", "--json", "--top", 1, stdin=subprocess.PIPE, cwd=folder)
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    for name in ("c.jpg", "gone.jpg", "c.jpg"):
        process.stdin.write(name.encode() + b"\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["path"] == name
    process.stdin.close()
    assert process.wait() == 1
    watchdog.cancel()


def test_captions_are_parsed_as_they_come():
    process = start("parse", "-", "--json", stdin=subprocess.PIPE)
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    for caption in ("a dog", "a cat on a sofa"):
        process.stdin.write(caption.encode() + b"\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["caption"] == caption
    process.stdin.close()
    assert process.wait() == 0
    watchdog.cancel()


@pytest.mark.parametrize("delay", [0, 0.1, 0.5])
def test_an_interrupt_while_everything_loads(folder, delay):
    """From anytag's first line on; before it, only Python handles interrupts."""
    heard = "signal.signal(signal.SIGINT, command.exit_immediately); print(flush=True)"
    script = f"import signal; import anytag.__main__ as command; {heard}; command.main()"
    pictures = ["./" + "/" * number + "c.jpg" for number in range(200)]
    process = start("tag", *pictures, "--json", cwd=folder, command=(sys.executable, "-c", script))
    process.stdout.readline()
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert error in (b"anytag: interrupted\n", b"anytag tag: interrupted\n")


def test_an_interrupt_while_a_pipe_is_silent(folder):
    """The thread that reads the pipe must not block the exit."""
    os.mkfifo(folder / "silent.jpg")
    process = start("tag", "c.jpg", "silent.jpg", "--json", cwd=folder)
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=20)
    assert process.returncode == 130
    assert error in (b"anytag: interrupted\n", b"anytag tag: interrupted\n")


@pytest.mark.parametrize("command", [("parse", "-", "--workers", "2"), ("tag", "-")])
def test_an_interrupt_of_all_processes_while_there_is_nothing_to_do(folder, command):
    process = start(*command, stdin=subprocess.PIPE, cwd=folder, start_new_session=True)
    time.sleep(1.5)
    os.killpg(process.pid, signal.SIGINT)
    code = process.wait(timeout=20)
    error = process.stderr.read()
    assert code == 130
    assert error in (b"anytag: interrupted\n", f"anytag {command[0]}: interrupted\n".encode())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_terminated_batch_keeps_its_results(folder, number):
    """It dies by the signal, which a service manager takes for a normal end."""
    process = start("batch", "c.jpg", "--out", "tags", "--watch", 2, cwd=folder)
    recognized = False  # At the first look the picture may be so new that somebody could still be writing it.
    for line in process.stderr:
        recognized |= line.startswith(b"1 recognized")
        if recognized and line.endswith(b"contact-sheet.html\n"):
            break
    process.send_signal(number)
    _, error = process.communicate(timeout=20)
    assert (process.returncode, error) == (-number, b"anytag batch: interrupted\n")
    assert run("batch", "--out", "tags", "--status", cwd=folder)[1].startswith(b"1 done, 0 failed, 0 to do\n")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_the_service_ends_in_one_line(folder, number, status):
    pytest.importorskip("uvicorn", reason="the extra of the service is not installed")
    process = start("serve", "--port", 0, cwd=folder)
    said = process.stderr.readline().decode()
    address = re.fullmatch(r"anytag serves at (http://127\.0\.0\.1:[1-9]\d+) \(Ctrl-C stops it\)\n", said)[1]
    for _ in range(100):
        with suppress(OSError), urllib.request.urlopen(f"{address}/healthz", timeout=20) as answer:
            assert answer.status == 200
            break
        time.sleep(0.1)
    port = address.rpartition(":")[2]
    code, _, error = run("serve", "--port", port, cwd=folder)
    message = f"anytag serve: cannot listen on 127.0.0.1, port {port} (Address already in use); "
    assert (code, error.decode()) == (2, message + "give another --port or --host\n")
    process.send_signal(number)
    _, error = process.communicate(timeout=20)
    assert (process.returncode, error.decode().splitlines()[-1]) == (status, "anytag serve: interrupted")


def test_the_service_is_not_started_for_nothing(folder):
    pytest.importorskip("uvicorn", reason="the extra of the service is not installed")
    code, _, error = run("serve", "--model", "gone", "--port", 0, cwd=folder)
    assert (code, error.startswith(b"anytag serve: gone: no such model directory")) == (2, True)


def test_a_deleted_current_folder_is_reported(folder):
    code, out, _ = shell("mkdir d; cd d; rmdir ../d; anytag tag c.jpg 2>&1 >/dev/null", folder)
    last = out.decode().splitlines()[-1]
    assert (code, last) == (2, "anytag tag: the current folder no longer exists; go to another one")


def test_interrupts_that_are_ignored_from_outside_stay_so(folder):
    command = [*ANYTAG, "tag", "c.jpg", "--top", "1"]
    ignoring = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)}
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, **ignoring)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[0].startswith(b"c.jpg\n")
    assert process.returncode == 0


def test_a_terminal_is_not_steered_by_names(folder):
    name = "\x1b[31mred\x07\n\u202e:cat: [bold].jpg"
    (folder / "c.jpg").rename(folder / name)
    ours, theirs = pty.openpty()
    process = start("tag", ".", "gone\x1b]0;title\x07.jpg", "--top", 1, cwd=folder, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            chunk = os.read(ours, 4096)
        except OSError:  # The other end is closed.
            break
        if not chunk:
            break
        shown += chunk
    assert process.wait(timeout=60) == 1
    text = shown.decode()
    assert "\\x1b[31mred\\x07\\n\\u202e:cat: [bold].jpg" in text
    assert "gone\\x1b]0;title\\x07.jpg" in text
    assert "\x1b[31mred" not in text
    assert "\x07" not in text


def test_a_terminal_is_asked_for_the_list(folder):
    ours, theirs = pty.openpty()
    process = start("tag", "-", "--json", "--top", 1, cwd=folder, stdin=theirs)
    os.close(theirs)
    os.write(ours, b"c.jpg\n\x04")
    out, error = process.communicate(timeout=60)
    assert json.loads(out)["path"] == "c.jpg"
    assert error == b"reading paths from the terminal, one per line; Ctrl-D ends the list\n"
