"""A PostgreSQL server of the tests' own: no network, a folder of its own, gone when the tests are through."""

import getpass
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

PASSWORD = "s3cret/päss"


def programs():
    """Return the folder of the server's programs, or None."""
    found = shutil.which("initdb")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    return Path(found).resolve().parent if found else folders[-1] if folders else None


@contextmanager
def server():
    """Start a server whose one user has a password; yield the folder of its socket."""
    folder = programs()
    if folder is None:
        pytest.skip("no PostgreSQL server is installed (apt-get install postgresql)")
    root = os.geteuid() == 0
    user = "postgres" if root else getpass.getuser()
    before = ["runuser", "-u", user, "--"] if root else []  # the server refuses to run as root
    home = Path(tempfile.mkdtemp(prefix="sequela-pg-"))
    try:
        (home / "password").write_text(PASSWORD)
        if root:
            shutil.chown(home, user)
            shutil.chown(home / "password", user)
        data = home / "data"

        def call(program, *words):
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}  # a pipe would be kept by the server
            subprocess.run([*before, str(folder / program), *words], check=True, cwd=home, **quiet)

        call("initdb", "-D", str(data), "-U", "clerk", "--no-sync", "-E", "UTF8", "--locale=C", "-A",
             "scram-sha-256", f"--pwfile={home / 'password'}")  # fmt: skip
        call("pg_ctl", "-D", str(data), "-w", "-o", f"-k {home} -c listen_addresses='' -c fsync=off", "start")
        try:
            yield home
        finally:
            call("pg_ctl", "-D", str(data), "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(home, ignore_errors=True)
