"""Runs at the start of every Python of a run: reports to the engine what trained code must not open or change.

A folder with this file is the first of the run's PYTHONPATH. It knows Python's own doors (`sys.addaudithook`): files
opened, moved or deleted, programs started, connections. What native code opens by itself it does not see, and code
that sets out to silence it can. It never changes what a program does.
"""

import sys


def _watch():
    import json
    import os
    import stat
    from _thread import get_ident

    try:
        with open(os.environ["AUTORESEARCH_WATCH"], encoding="utf-8") as file:
            config = json.load(file)
        channel = [os.open(config["reports"], os.O_WRONLY | os.O_NONBLOCK)]
    except (KeyError, OSError, ValueError):
        return
    hidden = dict(config["hidden"])
    identities = {(device, number): label for device, number, label in config["identities"]}
    inside = tuple(path + os.sep for path in hidden if os.path.isdir(path))
    installed = tuple({os.path.realpath(path) + os.sep for path in (sys.prefix, sys.base_prefix)})
    names = {os.path.basename(path) for path in hidden}
    protected, own, engine = tuple(config["protected"]), tuple(config["own"]), config["engine"]
    write, stat_of, real, fspath, getpid = os.write, os.stat, os.path.realpath, os.fspath, os.getpid
    open_again, pack, told, busy = os.open, json.dumps, set(), set()
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    regular, getppid, text = stat.S_ISREG, os.getppid, os.fsdecode

    def report(kind, what):
        key = (kind, what)
        if key in told or len(told) > 200:
            return
        told.add(key)
        line = (pack([kind, what[:300]]) + "\n").encode()
        try:
            write(channel[0], line)
        except OSError:
            try:
                channel[0] = open_again(config["reports"], os.O_WRONLY | os.O_NONBLOCK)
                write(channel[0], line)
            except OSError:
                pass

    def look(path):
        """A path that is read: is it hidden, under this name or another?"""
        name = text(fspath(path))
        try:
            about = stat_of(name)
            if regular(about.st_mode) and (about.st_dev, about.st_ino) in identities:
                return report("read", identities[about.st_dev, about.st_ino])
        except OSError:
            pass
        if os.path.basename(name) in names or (inside and not name.startswith(installed)):
            where = real(name)
            if where in hidden:
                report("read", hidden[where])
            for folder in inside:
                if where.startswith(folder):
                    report("read", hidden[folder[:-1]])

    def touch(path):
        """A path that is written, moved or deleted: is it one of ours?"""
        where = real(text(fspath(path)))
        if "__pycache__" in where or any(where == root or where.startswith(root + os.sep) for root in own):
            return
        for root in protected:
            if where == root or where.startswith(root + os.sep):
                report("write", where)

    def start(words):
        """The words of a program that is started: does one name what is hidden?"""
        line = " ".join(text(fspath(w)) if not isinstance(w, str) else w for w in words)
        for path, label in hidden.items():
            if path in line:
                report("read", label)

    def remote(host):
        host = text(host) if isinstance(host, bytes) else str(host)
        if host not in ("", "localhost", "::1", "0.0.0.0", "None") and not host.startswith("127."):
            report("network", host)

    def hook(event, args):
        me = get_ident()
        if me in busy:
            return
        busy.add(me)
        try:
            if event == "open":
                path, _, flags = args
                if isinstance(path, int):
                    return
                if flags is not None and flags & writing:
                    touch(path)
                if hidden:
                    look(path)
            elif event in ("os.remove", "os.rmdir", "os.truncate", "os.mkdir", "os.chmod"):
                if not isinstance(args[0], int):
                    touch(args[0])
            elif event in ("os.rename", "os.link", "os.symlink"):
                touch(args[1])
                if event == "os.rename":
                    touch(args[0])
                elif hidden:
                    look(args[0])
            elif event in ("subprocess.Popen", "os.posix_spawn"):
                start([args[0] or "", *(args[1] if isinstance(args[1], (list, tuple)) else [args[1]])])
            elif event == "os.exec":
                start(args[1])
            elif event == "os.system":
                start([args[0]])
            elif event == "socket.connect":
                if isinstance(args[1], tuple):
                    remote(args[1][0])
            elif event == "socket.getaddrinfo":
                remote(args[0])
            elif event == "os.kill" and args[1] and (args[0] in (engine, 1) or args[0] == getppid() != getpid()):
                report("kill", str(args[0]))
        except Exception:
            pass
        finally:
            busy.discard(me)

    sys.addaudithook(hook)


def _next():
    """Run the sitecustomize that this one stands in front of."""
    import importlib.util
    import os

    here = os.path.dirname(os.path.abspath(__file__))
    rest = [path for path in sys.path if os.path.abspath(path or ".") != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", rest)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


_watch()
_next()
