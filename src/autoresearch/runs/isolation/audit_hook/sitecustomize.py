"""Runs at the start of every Python of a run: reports to the engine what trained code must not open or change.

A folder with this file is the first of the run's PYTHONPATH. It knows Python's own doors (`sys.addaudithook`): files
opened, moved or deleted, programs started, connections. What native code opens by itself it does not see, and code
that sets out to silence it can. It never changes what a program does.
"""

import sys


class _Patches:
    """Whether the code of immutable modules, and what an evaluator computes with, is still what it was."""

    LIBRARIES = ("builtins", "math", "json", "torch", "torch.nn.functional", "numpy")

    def __init__(self, files, installed, report):
        self.installed = installed
        self.files, self.report, self.known, self.expected, self.left = set(files), report, {}, {}, 100

    def learn(self):
        """Remember the libraries as they are before code that may change is imported beside them."""
        for name in self.LIBRARIES:
            if name in sys.modules:
                self.known[name] = self.callables(sys.modules[name])
        if "torch" in sys.modules:
            self.known["torch.Tensor"] = self.callables(sys.modules["torch"].Tensor)

    def __call__(self):
        """Compare; called before a file is written, and at the end."""
        if self.left <= 0:
            return
        self.left -= 1
        for name, before in self.known.items():
            owner = sys.modules["torch"].Tensor if name == "torch.Tensor" else sys.modules.get(name)
            now = self.callables(owner)
            changed = [key for key in before if now.get(key) is not before[key]]
            changed += [key for key in now if key not in before] if name == "torch.Tensor" else []
            for key in changed:
                code = getattr(now.get(key), "__code__", None)
                if code is None or self.foreign(code):  # torch replaces some of its own when it compiles
                    self.report("patch", f"{name}.{key}")
        for module in list(sys.modules.values()):
            path = getattr(module, "__file__", None)
            if path in self.files:
                self.compare(module, path)

    @staticmethod
    def callables(owner):
        return {key: value for key, value in list(vars(owner).items()) if callable(value)}

    def compare(self, module, path):
        if path not in self.expected:
            with open(path, encoding="utf-8") as file:
                self.expected[path] = {}
                self.collect(compile(file.read(), path, "exec", dont_inherit=True), "", self.expected[path])
        space = vars(module)
        for name, codes in self.expected[path].items():
            first, _, second = name.partition(".")
            found = space.get(first)
            if second and isinstance(found, type):
                found = vars(found).get(second)
            elif second:
                continue
            found = getattr(found, "fget", None) or getattr(found, "func", None) or getattr(found, "__func__", found)
            code = getattr(getattr(found, "__wrapped__", found), "__code__", None)
            if code is not None and code not in codes and self.foreign(code):
                self.report("patch", f"{'the evaluator' if module.__name__ == '__main__' else module.__name__}.{name}")

    def foreign(self, code):
        """Whether code is neither of an immutable file nor of an installed package, as a decorator's may be."""
        return code.co_filename not in self.files and not code.co_filename.startswith(self.installed)

    def collect(self, code, prefix, into):
        """Take the functions of a module, and the methods of its classes; a name may be defined more than once."""
        for constant in code.co_consts:
            if hasattr(constant, "co_code") and constant.co_name.isidentifier():
                name = prefix + constant.co_name
                if constant.co_flags & 2:  # CO_NEWLOCALS: a function; the body of a class has none
                    into.setdefault(name, []).append(constant)
                elif not prefix:
                    self.collect(constant, name + ".", into)


def _watch():
    import atexit
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

    patches = _Patches(config["guarded"], installed, report)
    mutable = set(config["mutable"])
    atexit.register(patches)

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
                    patches()
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
            elif event == "exec":
                name = getattr(args[0], "co_filename", "")
                if not patches.known and os.path.basename(name)[:-3] in mutable and name.endswith(".py"):
                    patches.learn()
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
