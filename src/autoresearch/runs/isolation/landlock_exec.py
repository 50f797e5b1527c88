"""Holds itself to what it was told by Landlock and seccomp, and becomes the command that follows.

    python -I -S landlock_exec.py <JSON in one or more words> -- <command> [argument ...]

It is run by path and imports the standard library alone, so it needs nothing of the package. Rules of Landlock only
ever allow, and what is allowed of a folder is allowed of all that it holds. So a folder in which something is held
back is not allowed itself; what lies in it is, name by name.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import stat
import sys
from collections.abc import Iterator
from typing import Any

FAILED = "autoresearch sandbox: "
"""Stands before what it says when it fails; `sandbox.py` knows it by that."""

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
"""System calls; the same numbers on every machine that Linux was brought to since."""

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
MAKE_CHAR, MAKE_BLOCK = 1 << 6, 1 << 11
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
OF_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
"""What can be allowed of something that is no folder."""

LATEST = 10
"""A version that leaves nothing to the filter that files decide."""

NET_TCP = 0b11
SCOPE_ABSTRACT_SOCKETS, SCOPE_SIGNALS = 1 << 0, 1 << 1

READ = EXECUTE | READ_FILE | READ_DIR
WRITE = (TRUNCATE << 1) - 1 & ~MAKE_CHAR & ~MAKE_BLOCK
RIGHTS = {"none": 0, "read": READ, "write": WRITE}

DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "dri", "kfd", "dxg")
"""Of /dev, what programs write to; beside it everything of NVIDIA's."""

ARCHITECTURES: dict[str, tuple[int, dict[str, int]]] = {
    "x86_64": (0xC000003E, {
        "open": 2, "socket": 41, "truncate": 76, "openat": 257, "io_uring_setup": 425, "openat2": 437,
        "setxattr": 188, "lsetxattr": 189, "fsetxattr": 190, "setxattrat": 463,
        "chmod": 90, "fchmod": 91, "fchmodat": 268, "fchmodat2": 452, "chown": 92, "fchown": 93, "lchown": 94,
        "fchownat": 260, "utime": 132, "utimes": 235, "futimesat": 261, "utimensat": 280,
        "shmget": 29, "semget": 64, "msgget": 68, "mq_open": 240, "add_key": 248, "request_key": 249, "keyctl": 250,
        "prlimit64": 302, "setpriority": 141, "ioprio_set": 251, "sched_setparam": 142, "sched_setscheduler": 144,
        "sched_setaffinity": 203, "sched_setattr": 314,
        "mincore": 27, "cachestat": 451, "preadv2": 327, "fadvise64": 221,
    }),
    "aarch64": (0xC00000B7, {
        "socket": 198, "truncate": 45, "openat": 56, "io_uring_setup": 425, "openat2": 437,
        "setxattr": 5, "lsetxattr": 6, "fsetxattr": 7, "setxattrat": 463,
        "fchmod": 52, "fchmodat": 53, "fchmodat2": 452, "fchown": 55, "fchownat": 54, "utimensat": 88,
        "shmget": 194, "semget": 190, "msgget": 186, "mq_open": 180, "add_key": 217, "request_key": 218, "keyctl": 219,
        "prlimit64": 261, "setpriority": 140, "ioprio_set": 30, "sched_setparam": 118, "sched_setscheduler": 119,
        "sched_setaffinity": 122, "sched_setattr": 274,
        "mincore": 232, "cachestat": 451, "preadv2": 286, "fadvise64": 223,
    }),
}  # fmt: skip
"""Machine -> how the kernel names it to a filter, and the numbers of its system calls."""

MARKS_ON_FILES = ("chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat",
                  "utime", "utimes", "futimesat", "utimensat", "fadvise64")  # fmt: skip
ATTRIBUTES = ("setxattr", "lsetxattr", "fsetxattr", "setxattrat")
OF_OTHERS = {"prlimit64": 0, "sched_setparam": 0, "sched_setscheduler": 0, "sched_setaffinity": 0, "sched_setattr": 0,
             "setpriority": 1, "ioprio_set": 1}  # fmt: skip
"""Call -> which argument says of what process; of any but itself it is a mark that a third one can read."""
PAGE_CACHE = ("mincore", "cachestat", "preadv2")
"""They tell which pages of a file are in memory, which another process decides by reading them."""
MEMORY_BY_NAME = ("shmget", "semget", "msgget", "mq_open", "add_key", "request_key", "keyctl")

AF_UNIX, AF_NETLINK = 1, 16
PR_GET_SECCOMP, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 21, 22, 24, 38

LIBC = ctypes.CDLL(None, use_errno=True)

Places = dict[str, int]
"""Path without links in it -> what may be done there, and below it where no other place decides."""


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.POINTER(_Instruction)))


def abi() -> int:
    """Return the version of Landlock that the kernel has; raise `OSError` when it has none, or it is turned off."""
    return int(_syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1)))


# --- what may be opened ---


def allowances(places: Places, folder: str = "/", rights: int = READ, given: int = 0) -> Iterator[tuple[str, int]]:
    """Yield (path, rights) to allow, so that the innermost of `places` that holds a path decides of it.

    `rights` are those of `folder`, `given` what is allowed of it by what was yielded for a folder around it.
    """
    prefix = folder.rstrip("/") + "/"
    inside = {path: theirs for path, theirs in places.items() if path.startswith(prefix) and path != folder}
    common = rights
    for theirs in inside.values():
        common &= theirs
    if common & ~given:
        yield folder, common
    if common == rights:  # nothing is held back in here: what remains is where more is allowed
        names = {path[len(prefix) :] for path in inside if not any(path.startswith(p + "/") for p in inside)}
    else:
        names = {path[len(prefix) :].partition("/")[0] for path in inside} | _names(folder)
    for name in sorted(names):
        yield from allowances(places, prefix + name, inside.get(prefix + name, rights), given | common)


def listable(places: Places) -> Places:
    """Allow to list what is hidden, where nothing in it is for a run: a name is no secret, since `stat` tells it.

    Without that no folder around it could be listed either, and Python finds no module in a folder that it cannot list.
    """
    return {
        path: rights or (0 if any(theirs and p.startswith(path + "/") for p, theirs in places.items()) else READ_DIR)
        for path, rights in places.items()
    }


def devices() -> Places:
    """Return what every program may write to beside its own folders."""
    names = _names("/dev")
    found = {f"/dev/{name}": WRITE | IOCTL_DEV for name in names if name in DEVICES or name.startswith("nvidia")}
    if "nvidiactl" in names:  # the first call of CUDA names a thread, by a file of its process in /proc
        sealed = os.geteuid() != 0 or bool(os.statvfs("/proc/sys").f_flag & os.ST_RDONLY)
        found["/proc" if sealed else f"/proc/{os.getpid()}"] = READ | WRITE_FILE
    return found


def restrict(places: Places, network: bool, version: int) -> None:
    """Hold this process and all that it starts to `places`. Raises `OSError`."""
    handled = (IOCTL_DEV << 1) - 1
    for since, right in ((2, REFER), (3, TRUNCATE), (5, IOCTL_DEV)):
        handled &= ~right if version < since else ~0
    scoped = SCOPE_SIGNALS | (0 if network else SCOPE_ABSTRACT_SOCKETS)
    about = _Ruleset(handled, NET_TCP if version >= 4 and not network else 0, scoped if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = _syscall(CREATE_RULESET, ctypes.byref(about), ctypes.c_size_t(size), ctypes.c_uint32(0))
    for path, rights in allowances(places, "/", places.get("/", READ)):
        _allow(ruleset, path, rights & handled)
    _drop_capabilities()
    _syscall(RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    """Add one rule. A link is passed over: what it points to has a rule where it is, or none."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        mode = os.fstat(descriptor).st_mode
        rights &= ~0 if stat.S_ISDIR(mode) else OF_A_FILE
        if rights and not stat.S_ISLNK(mode):
            rule = _PathBeneath(rights, descriptor)
            _syscall(ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(1), ctypes.byref(rule), ctypes.c_uint32(0))
    finally:
        os.close(descriptor)


def _names(folder: str) -> set[str]:
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()


# --- what may be asked of the kernel ---

LOAD, EQUAL, AT_LEAST, AND, RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050000
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, (16, 24, 32)
"""Places in what the kernel tells a filter of a call."""

Code = tuple[int, int, int, int]


def filter_of(machine: str, network: bool, alone: bool, version: int) -> list[Code]:
    """Return the filter of system calls: what Landlock of this version leaves open. Empty for an unknown machine."""
    if machine not in ARCHITECTURES:
        return []
    audit, numbers = ARCHITECTURES[machine]
    code: list[Code] = [(LOAD, 0, 0, ARCHITECTURE), (EQUAL, 1, 0, audit), _refuse(errno.ENOSYS), (LOAD, 0, 0, NUMBER)]
    if machine == "x86_64":  # the same calls under other numbers
        code += [(AT_LEAST, 0, 1, 0x40000000), _refuse(errno.ENOSYS)]
    refused = {"io_uring_setup": errno.ENOSYS}  # it does by itself what is refused here
    refused |= dict.fromkeys(ATTRIBUTES, errno.EOPNOTSUPP)
    if alone:
        refused |= dict.fromkeys(MEMORY_BY_NAME, errno.EACCES)
        refused |= dict.fromkeys(PAGE_CACHE, errno.ENOSYS)
        refused |= dict.fromkeys(MARKS_ON_FILES, 0)  # they say that all went well: programs ask for them in passing
    if version < 3:
        refused |= {"truncate": errno.EACCES, "openat2": errno.ENOSYS}
    for name, answer in refused.items():
        if name in numbers:
            code += [(EQUAL, 0, 1, numbers[name]), _refuse(answer)]
    for name, argument in OF_OTHERS.items() if alone else ():
        if name in numbers:
            code += [(EQUAL, 0, 4, numbers[name]), (LOAD, 0, 0, ARGUMENTS[argument]), (EQUAL, 0, 1, 0),
                     (RETURN, 0, 0, ALLOW), _refuse(errno.EPERM)]  # fmt: skip
    if not network:  # other families than these reach other machines
        code += [(EQUAL, 0, 5, numbers["socket"]), (LOAD, 0, 0, ARGUMENTS[0]), (EQUAL, 1, 0, AF_UNIX),
                 (EQUAL, 0, 1, AF_NETLINK), (RETURN, 0, 0, ALLOW), _refuse(errno.EACCES)]  # fmt: skip
    for name, argument in (("open", 1), ("openat", 2)) if version < 3 else ():
        if name in numbers:  # opened to read, and emptied by that
            code += [(EQUAL, 0, 5, numbers[name]), (LOAD, 0, 0, ARGUMENTS[argument]),
                     (AND, 0, 0, os.O_ACCMODE | os.O_TRUNC), (EQUAL, 0, 1, os.O_TRUNC), _refuse(errno.EACCES),
                     (RETURN, 0, 0, ALLOW)]  # fmt: skip
    return [*code, (RETURN, 0, 0, ALLOW)]


def install(code: list[Code]) -> bool:
    """Put a filter in force; return whether the kernel took it."""
    if not code:
        return False
    program = _Program(len(code), (_Instruction * len(code))(*(_Instruction(*line) for line in code)))
    return bool(LIBC.prctl(PR_SET_SECCOMP, 2, ctypes.byref(program), 0, 0) == 0)


def filters(machine: str) -> bool:
    """Whether a filter can be put in force here."""
    return machine in ARCHITECTURES and bool(LIBC.prctl(PR_GET_SECCOMP, 0, 0, 0, 0) >= 0)


def _refuse(answer: int) -> Code:
    return (RETURN, 0, 0, REFUSE | answer)


def _drop_capabilities() -> None:
    """Give up what root may do beside opening its own files, for good."""
    capability = 0
    while LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0:
        capability += 1
    LIBC.capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
    if LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no_new_privs is refused")


def _syscall(number: int, *arguments: object) -> int:
    done: int = LIBC.syscall(ctypes.c_long(number), *arguments)
    if done < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{os.strerror(code)} (system call {number})")
    return done


# --- the program ---


def prepare(settings: dict[str, Any]) -> None:
    """Make the temporary folder, set the environment, and give up every other way out. Raises `OSError`.

    Without places, only give up the system calls that another sandbox leaves open."""
    if "places" not in settings:
        install(filter_of(os.uname().machine, settings["network"], settings["alone"], LATEST))
        return
    version = abi()
    places = {os.path.realpath(path): RIGHTS[right] for path, right in settings["places"]}
    tmp = settings["tmp"]
    if tmp is None:
        tmp = os.path.join(settings["scratch"], os.urandom(8).hex())
        os.makedirs(tmp, mode=0o700)
        places[os.path.realpath(tmp)] = WRITE
    os.environ["TMPDIR"] = tmp
    os.environ.update(settings["env"])
    os.environ.update({name: os.path.join(tmp, folder) for name, folder in settings["in_tmp"].items()})
    os.chdir(settings["cwd"])
    places["/dev/shm"] = 0 if settings["alone"] else WRITE
    restrict({**devices(), **listable(places)}, settings["network"], version)
    install(filter_of(os.uname().machine, settings["network"], settings["alone"], version))


def main() -> None:
    at = sys.argv.index("--")
    command = sys.argv[at + 1 :]
    try:
        prepare(json.loads("".join(sys.argv[1:at])))
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and the command would go on to do so
            signal.signal(number, signal.SIG_DFL)
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"{FAILED}{error}")


if __name__ == "__main__":
    main()
